"""The job that notes mail runs only for some time after its notes were used."""

from datetime import timedelta

import pytest

from tests.kit.values import NOW
from waypost.app import ports
from waypost.app.mail import wanted
from waypost.app.mail.wanted import RENEWED_EVERY, WANTED_FOR, NotesWanted


def are_wanted(store, now):
    return store.read(lambda tx: wanted.are_wanted(tx, now=now))


def test_notes_are_wanted_for_some_time_after_they_were_used(store):
    assert not are_wanted(store, NOW)
    store.write(lambda tx: wanted.want(tx, now=NOW))
    assert are_wanted(store, NOW)
    assert are_wanted(store, NOW + WANTED_FOR - timedelta(seconds=1))
    assert not are_wanted(store, NOW + WANTED_FOR)
    assert not are_wanted(store, NOW - timedelta(hours=1))  # the clock was set back


def test_a_process_records_rarely_that_it_uses_the_notes(store):
    times = [NOW, NOW + RENEWED_EVERY - timedelta(seconds=1), NOW + RENEWED_EVERY]
    notes = NotesWanted(store.store, lambda: times[0])
    found = []
    while times:
        store.run(notes.renew())
        found.append(store.read(lambda tx: tx.mail_mark("wanted").at))
        del times[0]
    assert found == [NOW + WANTED_FOR, NOW + WANTED_FOR, NOW + RENEWED_EVERY + WANTED_FOR]


def test_notes_can_be_read_while_the_store_cannot_write():
    class Full:
        async def write(self, _):
            raise ports.StoreUnavailable("the disk is full")

    coroutine = NotesWanted(Full(), lambda: NOW).renew()
    with pytest.raises(StopIteration):
        coroutine.send(None)
