"""The parts of a webhook's URL that the inspection API shows in a trace, and the parts that it hides."""

import pytest
from msgspec.structs import replace

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
OUR_REASON = f"The mail for the email address {ADDRESS} takes the route for *."
PEER_REPLY = f"404 no such page: {DESTINATION}, s3cret-1"
ATTEMPT = Attempt(number=1, destination=DESTINATION, stage="webhook", trouble="webhook")


def line_of(detail):
    """Return the JSON object that the API returns for an event of a trace."""
    event = TraceEvent(NOW, detail)
    found = MessageDetails(message=a_message(), deliveries=[], events=[event], authentication_results=())
    (line,) = answers.details(found)["trace"]
    return line


def test_members_that_equal_a_value_of_a_webhook_s_query_are_not_hidden():
    shown = line_of(DeferredEvent(address=ADDRESS, attempt=ATTEMPT, until="soon", because="no"))
    facts = {
        "address": ADDRESS,
        "attempt": 1,
        "stage": "webhook",
        "trouble": "webhook",
        "until": "soon",
        "because": "no",
    }
    assert shown == {"at": shown["at"], "event": "deferred", "destination": SHOWN} | facts


@pytest.mark.parametrize("kind", [QueuedEvent, MovedEvent, RedrivenEvent])
def test_the_reason_why_a_delivery_waits_is_shown_unchanged(kind):
    shown = line_of(kind(address=ADDRESS, destination=DESTINATION, because=OUR_REASON))
    assert (shown["destination"], shown["because"]) == (SHOWN, OUR_REASON)


@pytest.mark.parametrize("name", ["reply", "peer"])
def test_the_query_of_a_webhook_s_url_is_hidden_in_text_from_the_peer(name):
    shown = line_of(DeliveredEvent(address=ADDRESS, attempt=replace(ATTEMPT, **{name: PEER_REPLY})))
    assert shown[name] == f"404 no such page: {SHOWN}, …"


def test_the_query_of_a_webhook_s_url_is_hidden_in_the_reason_for_a_dead_letter():
    shown = line_of(DeadEvent(address=ADDRESS, attempt=ATTEMPT, status="5.3.0", because=PEER_REPLY))
    assert shown["because"] == f"404 no such page: {SHOWN}, …"


def test_the_query_of_a_webhook_s_url_is_hidden_in_an_event_of_another_version():
    shown = line_of(OtherEvent("teleported", {"destination": DESTINATION, "whereto": PEER_REPLY, "hops": 3}))
    assert shown == {"at": shown["at"], "event": "teleported", "destination": SHOWN, "hops": 3} | {
        "whereto": f"404 no such page: {SHOWN}, …"
    }
