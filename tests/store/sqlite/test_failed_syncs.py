"""The log of a file is written again as it is. `tests/faults` tests this with servers whose fsync fails."""

import asyncio
import os
import sqlite3

import pytest

from tests.kit.values import NoSeal
from waypost.store.sqlite import copies, failed_syncs, upgrades
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.store import SqliteStore

PAGE = 24 + 4096
"""The octets of a page in the log, with the header of its frame."""


@pytest.fixture
def database(tmp_path):
    """A file whose log has frames from before a checkpoint, and then three more."""
    path = tmp_path / "file"
    connection = sqlite_file.connect(path, "rwc")
    connection.execute("CREATE TABLE t (octets BLOB)")
    connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.execute("CREATE TABLE s (number INTEGER)")
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    for number in range(3):
        connection.execute("INSERT INTO s VALUES (?)", (number,))
    yield path
    connection.close()


@pytest.fixture
def written(monkeypatch):
    """The ranges that were written, and the files that were synced."""
    ranges, write = [], os.pwrite

    def noting(file, octets, offset):
        ranges.append((offset, offset + len(octets)))
        return write(file, octets, offset)

    monkeypatch.setattr(os, "pwrite", noting)
    return ranges


def log_of(database):
    return database.with_name("file-wal")


def test_only_the_frames_since_the_last_checkpoint_are_written_again_and_nothing_changes(database, written):
    before = log_of(database).read_bytes()
    failed_syncs.write_log_again(database)
    ((start, end),) = written
    assert start == 0
    assert end < len(before) // 2
    assert (end - 32) % PAGE == 0
    connection = sqlite3.connect(database)
    (_, frames, _) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    connection.close()
    assert end == 32 + frames * PAGE
    assert log_of(database).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"short", bytes(5000)])
def test_a_log_without_a_header_is_not_written(tmp_path, written, content):
    (tmp_path / "file-wal").write_bytes(content)
    failed_syncs.write_log_again(tmp_path / "file")
    assert written == []


def test_a_missing_log_is_not_created(tmp_path):
    failed_syncs.write_log_again(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_ends_in_the_middle_of_a_frame_keeps_its_size(database, written):
    size = 32 + PAGE + 500
    cut = database.with_name("cut-wal")
    cut.write_bytes(log_of(database).read_bytes()[:size])
    failed_syncs.write_log_again(database.with_name("cut"))
    assert written == [(0, size)]
    assert cut.stat().st_size == size


def test_a_directory_that_cannot_be_synced_is_reported(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    failed_syncs.sync_directory(tmp_path / "file")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        failed_syncs.sync_directory(tmp_path / "file")


async def create(path):
    await SqliteStore(path, NoSeal()).close()


def complete_copy(path):
    with copies.target(path.with_name("copy"), "d"):
        pass


@pytest.mark.parametrize("close", [lambda path: upgrades.run(path, None), complete_copy], ids=["migrate", "copy"])
def test_the_removal_of_the_log_is_synced_when_a_command_has_ended(tmp_path, monkeypatch, close):
    """After a power failure that kept only the file `-shm`, the server would say that its log is missing."""
    path = tmp_path / "file"
    asyncio.run(create(path))
    left, sync = [], failed_syncs.sync_directory
    monkeypatch.setattr(
        failed_syncs,
        "sync_directory",
        lambda database: (left.append([one.name for one in tmp_path.glob("*-shm")]), sync(database)),
    )
    close(path)
    assert left[-1:] == [[]]
