"""What the inspection API tells of a message, and what it hides."""

from dataclasses import replace

import pytest

from tests.kit.values import NOW, a_message
from waypost.app.mail.trace import MessageDetails
from waypost.domain.mail.trace_events import (
    Attempt,
    DeadEvent,
    DeferredEvent,
    DeliveredEvent,
    MovedEvent,
    OtherEvent,
    QueuedEvent,
    RedrivenEvent,
    TraceEvent,
)
from waypost.inspection import answers

ADDRESS = "support@example.com"
DESTINATION = "https://hook.example/in?to=support@example.com&mode=webhook&key=s3cret-1"
SHOWN = "https://hook.example/in?…"
OURS = f"The mail for the email address {ADDRESS} takes the route for *."
THEIRS = f"404 no such page: {DESTINATION}, s3cret-1"
ATTEMPT = Attempt(number=1, destination=DESTINATION, stage="webhook", trouble="webhook")


def told_of(detail):
    """A line of a trace, as the API tells it."""
    event = TraceEvent(NOW, detail)
    found = MessageDetails(message=a_message(), deliveries=[], events=[event], authentication_results=())
    (line,) = answers.details(found)["trace"]
    return line


def test_values_of_a_webhook_s_query_are_not_taken_out_of_facts_that_merely_have_the_same_words():
    told = told_of(DeferredEvent(address=ADDRESS, attempt=ATTEMPT, until="soon", because="no"))
    facts = {
        "address": ADDRESS,
        "attempt": 1,
        "stage": "webhook",
        "trouble": "webhook",
        "until": "soon",
        "because": "no",
    }
    assert told == {"at": told["at"], "event": "deferred", "destination": SHOWN} | facts


@pytest.mark.parametrize("kind", [QueuedEvent, MovedEvent, RedrivenEvent])
def test_why_a_delivery_waits_is_in_our_words_and_told_whole(kind):
    told = told_of(kind(address=ADDRESS, destination=DESTINATION, because=OURS))
    assert (told["destination"], told["because"]) == (SHOWN, OURS)


@pytest.mark.parametrize("name", ["reply", "peer"])
def test_what_others_say_of_a_webhook_is_told_without_its_query(name):
    told = told_of(DeliveredEvent(address=ADDRESS, attempt=replace(ATTEMPT, **{name: THEIRS})))
    assert told[name] == f"404 no such page: {SHOWN}, …"


def test_why_a_delivery_was_given_up_is_told_without_the_query():
    told = told_of(DeadEvent(address=ADDRESS, attempt=ATTEMPT, status="5.3.0", because=THEIRS))
    assert told["because"] == f"404 no such page: {SHOWN}, …"


def test_of_an_event_of_another_version_nothing_may_be_secret():
    told = told_of(OtherEvent("teleported", {"destination": DESTINATION, "whereto": THEIRS, "hops": 3}))
    assert told == {"at": told["at"], "event": "teleported", "destination": SHOWN, "hops": 3} | {
        "whereto": f"404 no such page: {SHOWN}, …"
    }
