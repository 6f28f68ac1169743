"""What the JSON of the inspection API tells, and what it hides."""

import pytest

from tests.kit.values import NOW, a_message
from waypost.app import ports
from waypost.app.mail.trace import MessageDetails
from waypost.domain.mail.delivery import Event
from waypost.inspection import schema

DESTINATION = "https://hook.example/in?to=support@example.com&mode=webhook&key=s3cret-1"
SHOWN = "https://hook.example/in?…"


def told_of(kind, **detail):
    """A line of a trace, as the API tells it."""
    event = ports.TraceEvent(NOW, kind, {"destination": DESTINATION, **detail})
    found = MessageDetails(message=a_message(), deliveries=[], events=[event], authentication_results=())
    (line,) = schema.details(found)["trace"]
    return line


def test_values_of_a_webhook_s_query_are_not_taken_out_of_facts_that_merely_have_the_same_words():
    facts = {"address": "support@example.com", "protocol": "webhook", "stage": "webhook", "attempt": 1}
    told = told_of(Event.DEFERRED, **facts)
    assert told == {"at": told["at"], "event": "deferred", "destination": SHOWN} | facts


def test_why_a_delivery_was_queued_is_in_our_words_and_told_whole():
    because = "support@example.com is an email address here, and its mail goes where the route for * leads."
    assert told_of(Event.QUEUED, because=because)["because"] == because


@pytest.mark.parametrize("name", ["because", "reply", "peer"])
@pytest.mark.parametrize("kind", [Event.DEFERRED, Event.DEAD, Event.DELIVERED])
def test_what_others_say_of_a_webhook_is_told_without_its_query(kind, name):
    told = told_of(kind, **{name: f"404 no such page: {DESTINATION}, s3cret-1"})
    assert told[name] == f"404 no such page: {SHOWN}, …"
