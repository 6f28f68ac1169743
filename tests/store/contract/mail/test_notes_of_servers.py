"""Several servers on a database note the same mail: each message once, also if one of them is killed."""

import asyncio
from datetime import timedelta

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.values import NOW, TENANT, a_line
from tests.store.contract.mail.test_mail_index import Text, keep
from waypost.app.limit_state import OwnState
from waypost.app.mail import noting
from waypost.app.mail.wanted import NotesWanted
from waypost.observe.incidents import Incidents
from waypost.server import maintenance


def counts(store):
    found = store.long_read(lambda tx: tx.mail_counts(TENANT.account, since=NOW - timedelta(minutes=1)))
    return {one.kind: one.count for one in found}


def test_servers_that_note_the_same_mail_at_the_same_time_note_it_once(store, race):
    message_id = keep(store, 0)
    keep(store, 1)
    store.write(lambda tx: tx.add_events(message_id, [a_line("dead", address="a@example.com", because="x")]))
    seen = store.long_read(noting.look, noting.Progress(), NOW)
    assert race(*[lambda tx: noting.note(tx, seen, now=NOW)] * 4) == [None] * 4
    assert store.count("mail_entries", "mail_changes") == {"mail_entries": 2, "mail_changes": 3}
    assert counts(store) == {"accepted": 2, "dead": 1}


def test_a_server_notes_and_indexes_mail_while_another_one_does_the_same_and_is_killed(store, monkeypatch):
    monkeypatch.setattr(maintenance, "NOTES_EVERY", 0.001)

    async def start(server):
        return asyncio.gather(server.run_notes(), server.run_index())

    async def kill(task):
        task.cancel()
        await asyncio.wait([task])

    async def wait_for(count):
        def not_indexed(tx):
            return len(tx.changes(TENANT.account, after=0, limit=99)) < count or tx.oldest_not_indexed()

        async with asyncio.timeout(PATIENCE):
            while await store.store.long_read(not_indexed, what="the notes"):  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.001)

    tasks = [store.run(start(a_server(handle.store))) for handle in (store, store.another())]
    for count in range(1, 13):
        keep(store, count)
        if count % 3 == 0:
            store.run(wait_for(count))
        if count == 7:
            store.run(kill(tasks.pop(0)))
    store.run(kill(tasks.pop()))
    numbers = {"mail_entries": 12, "mail_words": 12, "mail_changes": 12}
    assert store.count(*numbers) == numbers
    assert counts(store) == {"accepted": 12}


def a_server(store):
    """Return the maintenance of a server whose clients use the notes."""
    notes = NotesWanted(OwnState(), lambda: NOW)
    notes.renew_searches()
    return maintenance.Maintenance(
        store=store,
        deployment=None,
        incidents=Incidents(pytest.fail, of_store=()),
        real_clock=lambda: NOW,
        mail_clock=lambda: NOW,
        mail_text=Text(),
        notes=notes,
        token_retention=timedelta(),
        refusal_retention=timedelta(),
        rules=[],
        begun_before=NOW,
        first_plan_age=timedelta(),
    )
