"""Finds damage in the write-ahead log of an SQLite file, which SQLite itself hides.

The checksum of a frame covers all frames before it. SQLite reads the log up to the first frame whose checksum is wrong,
and ignores what follows, because after a power failure that is a transaction that was being written. But if a disk has
damaged an older frame, all transactions after it were acknowledged, and SQLite hides them without an error.

Each commit is synced before the next transaction begins. So a power failure, or a failed commit, leaves at most one
transaction after the last valid frame, or parts of several that do not continue each other. Two transactions of which
one continues the other must have been acknowledged.

If no power failure came after a kill, the file `-shm` (the index of the log) still names the last frame. SQLite writes
that after the frame was synced. So all frames up to it must be there, also those of the last transactions. SQLite does
not look at this file when it opens the database, but makes a new one.
"""

import os
import sqlite3
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct

from waypost.store.common import time_limits
from waypost.store.sqlite import failed_syncs
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.log_format import (
    DATABASE_MODE,
    FRAME,
    HEADER,
    INDEX,
    INDEX_COPIED,
    INDEX_VERSION,
    MAGIC,
    WITHOUT_LOG,
    index_of,
    log_of,
)
from waypost.store.sqlite.turn import Turn

_NATIVE = "<" if sys.byteorder == "little" else ">"
"""The byte order that SQLite uses for checksums on this machine."""

_COVERED = 8
"""The number of octets of a frame's header that its checksum covers."""

_ONE, _TWO = struct.Struct("=I"), struct.Struct("=II")

_TRANSACTIONS = 2
"""The number of transactions of which one continues the other, which must have been acknowledged."""

_FRAMES = 1_000
"""The maximum number of frames whose checksums are computed here, which takes about a quarter of a second."""


class LogDamaged(sqlite3.DatabaseError):
    """Acknowledged transactions in the log cannot be read. The error message says why."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    advice = (
        " Keep a copy of the directory, and restore your backup. To start without these transactions instead, first "
        "run: sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'"
    )


class LogMissing(LogDamaged):
    """The log of a server that was killed is missing."""

    advice = " Restore this file or your backup. To start without these changes, remove {path}-shm."


class LogOfAnotherFile(LogDamaged):
    """The log does not belong to the file, because the file was replaced."""

    advice = (
        " If the file is that of a whole backup, move {path}-wal and {path}-shm to another directory, and start "
        "Waypost again. Otherwise restore the file to which they belong. `waypost restore` restores a backup to a new "
        "directory."
    )


class _Index(Struct, frozen=True):
    """What the index of a log says about it."""

    page: int
    last: int
    """The number of the last frame of a transaction; frames count from 1."""
    checksum: tuple[int, int]
    """The checksum of that frame."""
    salts: bytes
    copied: int
    """The number of the last frame that is in the database file too."""


class _Log(Struct, frozen=True):
    """An open log, and what its header says."""

    file: int
    page: int
    order: str
    """The byte order of the numbers that a checksum adds: `<` or `>`."""
    salts: bytes | None
    """The salts of the frames that belong to the log; None if the header is damaged."""
    checksum: tuple[int, int]
    is_empty: bool
    """Whether the file ends before the end of the header, because a process that has just opened the database made it.
    """

    def checksum_of(self, frame: bytes, before: tuple[int, ...]) -> tuple[int, int]:
        """Return the checksum that a frame should have. `before` is that of the frame before it."""
        return _checksum(before, frame[:_COVERED] + frame[FRAME.size :], self.order)

    def frame(self, number: int) -> bytes:
        """Return a frame, whose number counts from 1, with its header; less if the file ends before."""
        octets = FRAME.size + self.page
        return os.pread(self.file, octets, HEADER.size + (number - 1) * octets)


def refuse(database: Path) -> None:
    """Raise `LogDamaged` if acknowledged transactions in the log of an SQLite file cannot be read.

    After a power failure, damage of the last two transactions cannot be told from what the power failure has left. The
    function changes nothing, so that the operator can still decide. Also raises `sqlite3.Error` and `OSError`.
    """
    log, index = log_of(database), index_of(database)
    # A process that closes the file removes the index before the log, and one that opens it creates the log first.
    if not log.exists() and index.exists() and not log.exists():
        raise LogMissing(f"{log.name} is missing, which has the most recent changes of a server that was killed")
    if not log.exists():
        return
    if log.stat().st_size > HEADER.size and _has_no_log(database):
        raise LogOfAnotherFile(f"{log.name} does not belong to {database.name}, because this file was replaced")
    # A connection that may only read does not remove the log when it is closed.
    with closing(sqlite_file.connect(database, "ro")) as connection, closing(Turn(database)) as turn:
        with turn.taken_within(time_limits.LIMITS.other_process):
            found = _read_index(index)
            frame = _damaged_before(log, found)
            if _read_index(index) != found:  # another process has just closed the file
                frame, found = 0, None
            if not frame:
                # SQLite makes a new index below. It must not name frames that are in memory only.
                failed_syncs.write_log_again(database)
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # SQLite reads the log
                (page,) = connection.execute("PRAGMA page_size").fetchone()
                made = _read_index(index)
                last = made.last if made else 0
                frame = _damaged_in(log, page, last)
                if not frame and made and found and made.salts == found.salts and last < found.last:
                    frame = last + 1
        if frame:
            raise LogDamaged(
                f"{log.name} is damaged near frame {frame}, so that acknowledged transactions cannot be read"
            )


def _has_no_log(database: Path) -> bool:
    """Return whether the header of an SQLite file says that the file has no log, as that of each backup does."""
    with database.open("rb") as file:
        return file.read(DATABASE_MODE + 1)[DATABASE_MODE:] == WITHOUT_LOG


def _read_index(path: Path) -> _Index | None:
    """Return what the index of a log says; None if it is missing, or was not written completely."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(octets) < INDEX_COPIED + 4:
        return None
    version, _, _, is_complete, _, page, last, _, frame, salts, checksum = INDEX.unpack_from(octets)
    expected = _checksum((0, 0), octets[: INDEX.size - len(checksum)], _NATIVE)
    if version != INDEX_VERSION or not is_complete or expected != _TWO.unpack(checksum):
        return None
    (copied,) = _ONE.unpack_from(octets, INDEX_COPIED)
    first, second = _TWO.unpack(frame)
    return _Index(page=_page(page), last=last, checksum=(first, second), salts=salts, copied=copied)


def _page(number: int) -> int:
    """Return the size of a page. The size 65,536 is written as 1."""
    return 65_536 if number == 1 else number


def _damaged_before(path: Path, index: _Index | None) -> int:
    """Return the number of a frame of the last two transactions that is damaged or missing although the index, as the
    last process has left it, says that it was synced; 0 if there is none.
    """
    if index is None or not index.last:
        return 0
    with _opened(path, index.page) as log:
        if log is None:
            return 0
        if log.salts is None:
            return 1 if index.last > index.copied else 0
        # With other salts, the log was begun again after this index was written to the disk.
        return _damaged_backwards(log, index) if log.salts == index.salts else 0


def _damaged_backwards(log: _Log, index: _Index) -> int:
    """Check the frames of the last two transactions, from the last frame on, but at most `_FRAMES`. Return the number
    of a wrong one, or 0.

    SQLite checks all frames itself, so damage of further frames is found too, but only once: then the index is new.
    """
    commits, checksum, octets = 0, index.checksum, log.frame(index.last)
    for number in range(index.last, max(0, index.last - _FRAMES), -1):
        if len(octets) < FRAME.size + log.page:
            return number
        _, size, salts, *stored = FRAME.unpack_from(octets)
        commits += size > 0
        if commits > _TRANSACTIONS:
            break
        earlier = log.frame(number - 1) if number > 1 else b""
        before = FRAME.unpack_from(earlier)[3:] if earlier else log.checksum
        if salts != log.salts or tuple(stored) != checksum or log.checksum_of(octets, before) != checksum:
            return number
        checksum, octets = before, earlier
    return 0


def _damaged_in(path: Path, page: int, last: int) -> int:
    """Return the number of the first damaged frame in the log; 0 if there is none. `last` is the last valid one."""
    with _opened(path, page) as log:
        return 0 if log is None or log.is_empty else _damaged_frame(log, last)


@contextmanager
def _opened(path: Path, page: int) -> Iterator[_Log | None]:
    """Open a log, and read its header; yield None if there is no log. `page` is the size of a page."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # another process has just closed the database, which removes its log
        yield None
        return
    try:
        found = os.pread(file, HEADER.size, 0)
        header = found.ljust(HEADER.size, b"\0")  # zeros are no valid header
        magic, _, _, _, salts, *checksum = HEADER.unpack(header)
        order = ">" if magic & 1 else "<"
        is_valid = magic & ~1 == MAGIC and _checksum((0, 0), header[: HEADER.size - 8], order) == tuple(checksum)
        yield _Log(
            file=file,
            page=page,
            order=order if is_valid else _NATIVE,
            salts=salts if is_valid else None,
            checksum=(checksum[0], checksum[1]),
            is_empty=len(found) < HEADER.size,
        )
    finally:
        os.close(file)


def _damaged_frame(log: _Log, last: int) -> int:
    """Return the number of the frame after which acknowledged transactions cannot be read; 0 if there is none."""
    before = FRAME.unpack_from(log.frame(last))[3:] if last else log.checksum
    commits, number = 0, last
    while len(octets := log.frame(number := number + 1)) == FRAME.size + log.page:
        _, size, salts, *checksum = FRAME.unpack_from(octets)
        is_current = salts == log.salts if log.salts else any(salts)
        if is_current and log.checksum_of(octets, before) == tuple(checksum):
            commits += size > 0
        else:
            commits = 0
        if commits == _TRANSACTIONS:
            return last + 1
        before = checksum[0], checksum[1]
    return 0


def _checksum(before: tuple[int, ...], octets: bytes, order: str) -> tuple[int, int]:
    """Return SQLite's checksum of octets that follow others, whose checksum is `before`."""
    first, second = before
    numbers = iter(struct.unpack(f"{order}{len(octets) // _ONE.size}I", octets))
    for one, other in zip(numbers, numbers, strict=True):
        first = (first + one + second) & 0xFFFF_FFFF
        second = (second + other + first) & 0xFFFF_FFFF
    return first, second
