"""The periodic maintenance: a job that fails does not stop the other jobs or the next round."""

import asyncio
from datetime import timedelta

import pytest

from tests.kit.values import NOW
from waypost.app import ports
from waypost.app.limit_state import OwnState
from waypost.app.mail import indexing, noting, retention
from waypost.app.mail.wanted import NotesWanted
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
    "remove_old_dead_letters": "old dead letters",
}


class Idle(Exception):
    """All jobs of a round have run."""


def a_maintenance(logged, **changed):
    given = {
        "store": None,
        "deployment": None,
        "incidents": Incidents(logged.append, of_store=STORE_FAILURES),
        "real_clock": lambda: NOW,
        "mail_clock": lambda: NOW,
        "mail_text": None,
        "notes": NotesWanted(OwnState(), lambda: NOW),
        "token_retention": timedelta(hours=2),
        "refusal_retention": timedelta(hours=2),
        "rules": [],
        "begun_before": NOW,
        "first_plan_age": timedelta(),
    }
    return maintenance.Maintenance(**given | changed)


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
    service_maintenance = a_maintenance(logged)
    with pytest.raises(Idle):
        asyncio.run(service_maintenance.run())
    assert done == list(JOBS)
    assert [(type(event), event.where) for event in logged] == [(kind, JOBS[method])]


def answering(answer):
    async def asked():
        return answer

    return asked


@pytest.mark.parametrize("is_wrong", [False, True])
def test_no_mail_is_deleted_by_retention_rules_while_the_clock_is_wrong(monkeypatch, is_wrong):
    purged = []

    async def purge(_, rules, *, now):
        purged.append((rules, now))
        yield 1

    monkeypatch.setattr(retention, "purge", purge)
    jobs = a_maintenance([], rules=["a rule"], may_clock_be_wrong=answering(is_wrong))
    asyncio.run(jobs.purge())
    assert purged == ([] if is_wrong else [(["a rule"], NOW)])


@pytest.mark.parametrize("job", ["run_notes", "run_index"])
def test_while_no_client_uses_the_notes_their_jobs_do_not_touch_the_store(monkeypatch, job):
    logged, pauses = [], []

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise Idle

    monkeypatch.setattr(maintenance.asyncio, "sleep", sleep)
    with pytest.raises(Idle):
        asyncio.run(getattr(a_maintenance(logged), job)())  # there is no store, so each use of it would be logged
    assert not logged


@pytest.mark.parametrize(
    ("module", "job", "use", "pause"),
    [
        (noting, "run_notes", NotesWanted.renew, max(maintenance.NOTES_LATER, maintenance.SHARE - 1)),
        (noting, "run_notes", NotesWanted.renew_streams, maintenance.SHARE - 1),
        (noting, "run_notes", NotesWanted.renew_searches, maintenance.SHARE - 1),
        (indexing, "run_index", NotesWanted.renew, maintenance.SHARE_WITHOUT_SEARCHES - 1),
        (indexing, "run_index", NotesWanted.renew_streams, maintenance.SHARE_WITHOUT_SEARCHES - 1),
        (indexing, "run_index", NotesWanted.renew_searches, maintenance.SHARE - 1),
    ],
)
def test_much_to_note_or_index_takes_only_a_share_of_the_time(monkeypatch, module, job, use, pause):
    now, pauses = 0.0, []

    async def one_round(*_):
        nonlocal now
        now += 1
        return noting.Found([], [], [], {}, is_full=True)

    async def sleep(seconds):
        pauses.append(seconds)
        raise Idle

    async def nothing(*_):
        pass

    monkeypatch.setattr(module, "run_round", one_round)
    monkeypatch.setattr(maintenance, "repeat_step", nothing)
    monkeypatch.setattr(maintenance.time, "monotonic", lambda: now)
    monkeypatch.setattr(maintenance.asyncio, "sleep", sleep)
    notes = NotesWanted(OwnState(), lambda: NOW)
    use(notes)

    class Store:
        write = None

    with pytest.raises(Idle):
        asyncio.run(getattr(a_maintenance([], notes=notes, store=Store), job)())
    assert pauses == [pause]


@pytest.mark.parametrize(
    ("use", "is_indexed"),
    [(NotesWanted.renew, False), (NotesWanted.renew_streams, False), (NotesWanted.renew_searches, True)],
)
def test_while_much_mail_arrives_it_is_indexed_only_for_searches(monkeypatch, use, is_indexed):
    indexed = []

    async def one_round(*_):
        indexed.append(True)
        return False

    async def sleep(_):
        raise Idle

    monkeypatch.setattr(indexing, "run_round", one_round)
    monkeypatch.setattr(maintenance.asyncio, "sleep", sleep)
    notes = NotesWanted(OwnState(), lambda: NOW)
    use(notes)
    jobs = a_maintenance([], notes=notes)
    jobs._progress.found = maintenance.BUSY
    with pytest.raises(Idle):
        asyncio.run(jobs.run_index())
    assert bool(indexed) is is_indexed


def test_old_dead_letters_are_removed_if_the_setting_says_so_and_each_removal_is_logged(monkeypatch):
    asked, logged = [], []

    async def remove_old(store, age, *, clock):
        asked.append((store, age, clock()))
        for count in (3, 1):
            yield count

    monkeypatch.setattr(maintenance.removing, "remove_old", remove_old)
    asyncio.run(a_maintenance([]).remove_old_dead_letters())
    assert asked == []
    month = timedelta(days=30)
    wrong = a_maintenance([], dead_letter_retention=month, may_clock_be_wrong=answering(True))
    asyncio.run(wrong.remove_old_dead_letters())
    assert asked == []
    asyncio.run(a_maintenance([], dead_letter_retention=month, emit=logged.append).remove_old_dead_letters())
    assert asked == [(None, month, NOW)]
    assert logged == [events.DeadLettersRemoved(count=count, reason="expired") for count in (3, 1)]
