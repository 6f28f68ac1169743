"""Reading strace's output, and telling what was synced before the reply."""

from pathlib import Path

import pytest
import syncs

LOG = """\
100   1700000000.000100 fdatasync(12</data/server-1/waypost.sqlite3-wal>) = 0 <0.000500>
101   1700000000.000200 fsync(9</data/server-1/queue/incoming/4F0A12B7C> <unfinished ...>
102   1700000000.000300 rename("incoming/4F0A12B7C", "active/4F0A12B7C") = 0 <0.000010>
101   1700000000.000900 <... fsync resumed>) = 0 <0.000700>
103   1700000000.001500 fsync(5</data/server-1/mail/tmp/1700000000.P7.host>) = 0 <0.000100>
103   1700000000.001700 linkat(AT_FDCWD, "tmp/1700000000.P7.host", AT_FDCWD, "new/1700000000.P7.host", 0) = 0 <0.000010>
103   1700000000.001800 fsync(5</data/x>) = -1 EROFS (Read-only file system) <0.000010>
104   1700000000.001900 fsync(5</data/never-ended> <unfinished ...>
104   1700000000.001950 +++ exited with 0 +++
"""


def test_calls_are_in_the_order_in_which_they_ended_without_those_that_failed():
    found = [(sync.call, sync.file) for sync in syncs.parsed(LOG)]
    assert found == [
        ("rename", "active/4F0A12B7C"),
        ("fdatasync", "/data/server-1/waypost.sqlite3-wal"),
        ("fsync", "/data/server-1/queue/incoming/4F0A12B7C"),
        ("fsync", "/data/server-1/mail/tmp/1700000000.P7.host"),
        ("linkat", "new/1700000000.P7.host"),
    ]


def test_a_call_that_ends_after_the_reply_was_not_before_it():
    told = syncs.summary(syncs.parsed(LOG), 1700000000.001, Path("/data/server-1"))
    assert told["before"] == ["rename active/…", "fdatasync waypost.sqlite3-wal", "fsync incoming/…"]
    assert told["after"] == ["fsync tmp/…", "link new/…"]


def test_equal_calls_are_counted():
    two = [syncs.Sync("fsync", f"/d/tmp/{number}.P12345", 1.0) for number in range(2)]
    assert syncs.summary(two, 2.0, Path("/d"))["before"] == ["2 × fsync tmp/…"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/waypost.sqlite3-wal", "waypost.sqlite3-wal"),
        ("/x/pg_wal/000000010000000000000001", "pg_wal/…"),
        ("queue/c7/c7942ace", "…"),
        ("spool/input", "spool/input"),
        ("/tmp/1700.P1.h (deleted)", "tmp/…"),
    ],
)
def test_names_made_for_one_message_are_not_shown(path, expected):
    assert syncs.short(path) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", False),
        ("strace: attach: ptrace(PTRACE_SEIZE, 10): Operation not permitted\n", False),
        ("strace: Process 10 attached\n", False),
        ("strace: Process 10 attached\nstrace: Process 11 attached with 3 threads\n", True),
        ("strace: Process 10 attached\nstrace: attach: ptrace(PTRACE_SEIZE, 11): No such process\n", True),
        ("strace: attach: ptrace(PTRACE_SEIZE, 10): No such process\n" * 2, False),
    ],
)
def test_nothing_is_told_about_processes_that_strace_cannot_trace(told, expected):
    assert syncs.has_attached(told, 2) == expected
