"""Finds damage in the write-ahead log of an SQLite file, which SQLite itself hides.

The checksum of a frame covers all frames before it. SQLite reads the log up to the first frame whose checksum is wrong,
and ignores what follows, because after a power failure that is a transaction that was being written. But if a disk has
damaged an older frame, all transactions after it were acknowledged, and SQLite hides them without an error.

Each commit is synced before the next transaction begins. So a power failure, or a failed commit, leaves at most one
transaction after the last valid frame, or parts of several that do not continue each other. Two transactions of which
one continues the other must have been acknowledged.
"""

import os
import sqlite3
import struct
import sys
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from waypost.store.common import time_limits
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.log_format import FRAME, HEADER, log_of
from waypost.store.sqlite.turn import Turn

_INDEX = struct.Struct("=IIIBBHII8s8s")
"""The beginning of the file `-shm`: version, …, the number of the last valid frame, …, its checksum, and the salts."""

_INDEX_VERSION = 3007000

_NATIVE = "<" if sys.byteorder == "little" else ">"
"""The byte order that SQLite uses for checksums on this machine."""

_COVERED = 8
"""The number of octets of a frame's header that its checksum covers."""


class LogDamaged(sqlite3.DatabaseError):
    """Acknowledged transactions in the log cannot be read. The error message says so."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    advice = (
        " Keep a copy of the directory, and restore your backup. To start without these transactions instead, first "
        "run: sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'"
    )

    def __init__(self, log: Path, frame: int) -> None:
        super().__init__(f"{log.name} is damaged near frame {frame}, and acknowledged transactions follow it")


class _Log(Struct, frozen=True):
    """An open log, and what its header says."""

    file: int
    page: int
    order: str
    """The byte order of the numbers that a checksum adds: `<` or `>`."""
    salts: bytes | None
    """The salts of the frames that belong to the log; None if the header is damaged."""
    checksum: tuple[int, int]

    def frame(self, number: int) -> bytes:
        """Return a frame, whose number counts from 1, with its header; less if the file ends before."""
        octets = FRAME.size + self.page
        return os.pread(self.file, octets, HEADER.size + (number - 1) * octets)


def refuse(database: Path) -> None:
    """Raise `LogDamaged` if acknowledged transactions in the log of an SQLite file cannot be read.

    Damage of the last two transactions cannot be told from a power failure. The function changes nothing, so that the
    operator can still decide. Also raises `sqlite3.Error` and `OSError`.
    """
    log = log_of(database)
    try:
        if log.stat().st_size <= HEADER.size:
            return
    except FileNotFoundError:
        return
    # A connection that may only read does not remove the log when it is closed.
    with closing(sqlite_file.connect(database, "ro")) as connection, closing(Turn(database)) as turn:
        with turn.taken_within(time_limits.LIMITS.other_process):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # SQLite reads the log, if it has not
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            frame = _damaged_in(log, page, _last_valid(database))
        if frame:
            raise LogDamaged(log, frame)


def _damaged_in(log: Path, page: int, last: int) -> int:
    """Return the number of the first damaged frame in the log; 0 if there is none. `last` is the last valid one."""
    try:
        file = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # another process has just closed the file, which removes its log
        return 0
    try:
        header = os.pread(file, HEADER.size, 0)
        is_log = len(header) == HEADER.size  # a process that has just opened the file has made an empty log
        return _damaged_frame(_read(header, file, page), last) if is_log else 0
    finally:
        os.close(file)


def _read(octets: bytes, file: int, page: int) -> _Log:
    magic, _, _, _, salts, *checksum = HEADER.unpack(octets)
    order = ">" if magic & 1 else "<"
    is_valid = _checksum((0, 0), octets[: HEADER.size - 8], order) == tuple(checksum)
    return _Log(
        file=file,
        page=page,
        order=order if is_valid else _NATIVE,
        salts=salts if is_valid else None,
        checksum=(checksum[0], checksum[1]),
    )


def _last_valid(database: Path) -> int:
    """Return the number of the last frame that SQLite reads; 0 if it reads none."""
    octets = database.with_name(f"{database.name}-shm").read_bytes()[: _INDEX.size]
    version, _, _, _, _, _, last, *_ = _INDEX.unpack(octets)
    return last if version == _INDEX_VERSION else 0


def _damaged_frame(log: _Log, last: int) -> int:
    """Return the number of the frame after which acknowledged transactions cannot be read; 0 if there is none."""
    before = FRAME.unpack_from(log.frame(last))[3:] if last else log.checksum
    commits, number = 0, last
    while len(octets := log.frame(number := number + 1)) == FRAME.size + log.page:
        _, size, salts, *checksum = FRAME.unpack_from(octets)
        is_current = salts == log.salts if log.salts else any(salts)
        covered = octets[:_COVERED] + octets[FRAME.size :]
        if is_current and _checksum(before, covered, log.order) == tuple(checksum):
            commits += size > 0
        else:
            commits = 0
        if commits == 2:
            return last + 1
        before = checksum[0], checksum[1]
    return 0


def _checksum(before: tuple[int, ...], octets: bytes, order: str) -> tuple[int, int]:
    """Return SQLite's checksum of octets that follow others, whose checksum is `before`."""
    first, second = before
    for one, other in struct.iter_unpack(f"{order}II", octets):
        first = (first + one + second) & 0xFFFF_FFFF
        second = (second + other + first) & 0xFFFF_FFFF
    return first, second
