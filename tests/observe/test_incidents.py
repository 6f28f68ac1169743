"""An incident: the log has the cause under an id, and the caller learns nothing but the id."""

import uuid

import pytest

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.domain import errors
from waypost.observe import events
from waypost.observe.incidents import Incidents

SECRET = "secret at /var/lib"


def reported(error, **given):
    """The incident of an error, and the one event that tells of it."""
    emitted = []
    incident = Incidents(emitted.append, of_store=STORE_FAILURES).report(error, where="smtp", **given)
    (event,) = emitted
    return incident, event


@pytest.mark.parametrize(
    "error",
    [ports.StoreUnavailable(SECRET), ports.TookTooLong("old mail", 5), errors.Busy(SECRET)],
    ids=["gone", "slow", "busy"],
)
def test_a_store_that_could_not_do_its_work_is_worth_a_retry(error):
    incident, event = reported(error)
    assert event == events.StoreFailed(where="smtp", id=incident.id, cause=error)
    assert incident.is_of_store
    assert incident.sentence == f"The store is not available (id {incident.id}); please try again."


@pytest.mark.parametrize("error", [RuntimeError(SECRET), errors.Conflict(SECRET), KeyError(SECRET)])
def test_every_other_error_is_a_failure_of_ours_and_its_words_are_told_to_nobody(error):
    incident, event = reported(error)
    assert event == events.Failed(where="smtp", id=incident.id, cause=error)
    assert not incident.is_of_store
    assert incident.sentence == f"Something went wrong on our side (id {incident.id})."


def test_an_incident_has_an_id_of_its_own_unless_the_caller_knows_one():
    ids = {reported(RuntimeError())[0].id for _ in range(3)}
    assert len({uuid.UUID(each) for each in ids}) == 3
    incident, event = reported(RuntimeError(), incident_id="a request")
    assert incident.id == event.id == "a request"
