"""The periodic maintenance: a job that fails does not stop the other jobs or the next round."""

import asyncio
from datetime import timedelta

import pytest

from tests.kit.values import NOW
from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.domain.errors import Busy
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.server import maintenance

JOBS = {
    "forget_calls_and_keys": "expired tokens and sessions",
    "delete_unfinished_messages": "unfinished messages",
    "forget_refusals": "old refusals",
    "purge": "purge",
}


class Idle(Exception):
    """All jobs of a round have run."""


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ports.TookTooLong("old mail", 5), events.StoreFailed),
        (Busy("Other calls change the same resource."), events.StoreFailed),
        (RuntimeError("a bug"), events.Failed),
    ],
    ids=["too slow", "busy", "bug"],
)
@pytest.mark.parametrize("method", JOBS)
def test_a_job_that_fails_is_logged_by_name_and_the_other_jobs_run(monkeypatch, method, raised, kind):
    done, logged = [], []

    def job(name):
        async def do(_, *__):
            done.append(name)
            if name == method:
                raise raised

        return do

    async def ends(_):
        raise Idle

    for each in JOBS:
        monkeypatch.setattr(maintenance.Maintenance, each, job(each))
    monkeypatch.setattr(maintenance.asyncio, "sleep", ends)
    service_maintenance = maintenance.Maintenance(
        store=None,
        deployment=None,
        incidents=Incidents(logged.append, of_store=STORE_FAILURES),
        real_clock=lambda: NOW,
        mail_clock=lambda: NOW,
        mail_text=None,
        token_retention=timedelta(hours=2),
        refusal_retention=timedelta(hours=2),
        rules=[],
        begun_before=NOW,
        first_plan_age=timedelta(),
    )
    with pytest.raises(Idle):
        asyncio.run(service_maintenance.run())
    assert done == list(JOBS)
    assert [(type(event), event.where) for event in logged] == [(kind, JOBS[method])]
