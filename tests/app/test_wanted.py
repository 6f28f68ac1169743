"""The jobs that note and index mail run only for some time after a client used their results."""

from datetime import timedelta

from tests.kit.values import NOW
from waypost.app.limit_state import OwnState
from waypost.app.mail.wanted import WANTED_FOR, NotesWanted
from waypost.host.shared_memory import SharedMemory


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def test_notes_are_wanted_for_some_time_after_they_were_used():
    clock = Clock()
    notes = NotesWanted(OwnState(), clock)
    assert not notes.are_wanted()
    notes.renew()
    for after, are_wanted in {
        timedelta(): True,
        WANTED_FOR - timedelta(seconds=1): True,
        WANTED_FOR: False,
        -timedelta(hours=1): False,  # the clock was set back
    }.items():
        clock.now = NOW + after
        assert notes.are_wanted() is are_wanted, after
    assert not notes.are_searches_wanted()


def test_a_search_uses_the_notes_too():
    notes = NotesWanted(OwnState(), Clock())
    notes.renew_searches()
    assert notes.are_wanted()
    assert notes.are_searches_wanted()


def test_a_stream_of_all_changes_uses_the_notes_too():
    notes = NotesWanted(OwnState(), Clock())
    notes.renew_streams()
    assert notes.are_wanted()
    assert notes.are_streams_wanted()
    assert not notes.are_searches_wanted()


def test_the_use_in_one_worker_process_is_known_in_the_others():
    memory = SharedMemory(2)
    here, there = (NotesWanted(memory.state_of(number), Clock()) for number in (1, 2))
    here.renew()
    assert there.are_wanted()
