"""Incidents: the log has the cause of a failure under an id, and the caller gets only the id."""

import uuid

import pytest

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.domain import errors
from waypost.observe import events
from waypost.observe.incidents import Incidents

SECRET = "secret at /var/lib"


def reported(error, **given):
    """Report an error. Return the incident, and the one event about it."""
    emitted = []
    incident = Incidents(emitted.append, of_store=STORE_FAILURES).report(error, where="smtp", **given)
    (event,) = emitted
    return incident, event


@pytest.mark.parametrize(
    "error",
    [ports.StoreUnavailable(SECRET), ports.TookTooLong("old mail", 5), errors.Busy(SECRET)],
    ids=["gone", "slow", "busy"],
)
def test_the_caller_is_asked_to_try_again_if_the_store_has_failed(error):
    incident, event = reported(error)
    assert event == events.StoreFailed(where="smtp", id=incident.id, cause=error)
    assert incident.is_of_store
    assert incident.sentence == f"The store is not available (id {incident.id}). Please try again."


@pytest.mark.parametrize("error", [RuntimeError(SECRET), errors.Conflict(SECRET), KeyError(SECRET)])
def test_the_caller_does_not_see_the_text_of_an_internal_error(error):
    incident, event = reported(error)
    assert event == events.Failed(where="smtp", id=incident.id, cause=error)
    assert not incident.is_of_store
    assert incident.sentence == f"Something went wrong on our side (id {incident.id})."


def test_the_caller_learns_which_message_is_damaged():
    incident, event = reported(ports.Damaged("m1"))
    assert event == events.Damaged(where="smtp", id=incident.id, message_id="m1")
    assert not incident.is_of_store
    assert incident.sentence.startswith("The stored bytes of message m1 are damaged, so they are not returned. ")
    assert incident.sentence.endswith(f" (id {incident.id})")


def test_an_incident_has_a_new_id_unless_the_caller_gives_one():
    ids = {reported(RuntimeError())[0].id for _ in range(3)}
    assert len({uuid.UUID(each) for each in ids}) == 3
    incident, event = reported(RuntimeError(), incident_id="a request")
    assert incident.id == event.id == "a request"
