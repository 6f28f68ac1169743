"""Keeps the write-ahead log correct after an fsync of it has failed.

After a failed fsync, Linux counts the pages as written, although they may not be on the disk. Programs still read them
from memory, and no later fsync writes them. Two things follow (docs/decisions/0065-failed-syncs.md):

- A transaction whose fsync failed was refused, but its frames are in the log. If the process is killed, SQLite finds
  them when the file is opened again, and the refused transaction is there. So it is overwritten at once.
- After a process was killed, frames that SQLite finds in the log may be in memory only. A transaction after them would
  be lost with them, although its own fsync succeeds. So the log is written again before the first transaction.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waypost.store.sqlite.log_format import FRAME, HEADER, MAGIC, log_of

_OCTETS_EACH = 1024 * 1024
"""The number of octets that are written again at once."""


def overwrite_failed_commit(connection: sqlite3.Connection) -> None:
    """Overwrite the frames of a transaction that could not be committed, by a transaction that changes nothing.

    Each frame's checksum covers all frames before it, so SQLite ignores the frames after one that was overwritten. If
    this transaction fails too, the next transaction that is committed does the same.
    """
    with suppress(sqlite3.Error, MemoryError):
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")  # this writes the first page as it is
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def write_log_again(database: Path) -> None:
    """Write what the log contains to the disk again. Raises `OSError`.

    The caller must have the turn, so that no process writes to the log meanwhile. A power failure during this function
    is harmless, because it changes no octet.
    """
    try:
        log = os.open(log_of(database), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # the last process that used the file has closed it
        return
    try:
        end, start = _end(log), 0
        while start < end:
            octets = os.pread(log, min(_OCTETS_EACH, end - start), start)
            if not octets:
                break
            start += os.pwrite(log, octets, start)
        os.fsync(log)
    finally:
        os.close(log)


def _end(log: int) -> int:
    """Return the position after the last frame that belongs to the log. Frames after it are from before a checkpoint.

    Frames whose checksum is wrong are included, because SQLite ignores them in any case.
    """
    header = os.pread(log, HEADER.size, 0)
    if len(header) < HEADER.size:
        return 0
    magic, _, page, _, salts, *_ = HEADER.unpack(header)
    if magic & ~1 != MAGIC or not page:
        return 0
    end, size = HEADER.size, os.fstat(log).st_size
    while end < size:
        frame = os.pread(log, FRAME.size, end)
        if len(frame) < FRAME.size or FRAME.unpack(frame)[2] != salts:
            break
        end += FRAME.size + page
    return min(end, size)


def sync_directory(database: Path) -> None:
    """Sync the directory of an SQLite file. Raises `OSError`.

    SQLite does this itself after it has created the log, but ignores an error. Then a power failure could remove the
    whole log.
    """
    directory = os.open(database.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def removal_synced(database: Path) -> Iterator[None]:
    """Sync the directory of an SQLite file after the `with` block, which closes a connection that may write.

    SQLite then removes the log and the file `-shm`. If a power failure kept only `-shm`, the log would seem to be lost.
    """
    try:
        yield
    finally:
        with suppress(OSError):
            sync_directory(database)
