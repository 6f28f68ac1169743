"""The disk guard: the server refuses mail before the disk is full, so that it can still deliver the stored mail."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from waypost.app.ports import StoreUnavailable
from waypost.observe import events

CHECK_EVERY = 1.0
"""Seconds between two checks of the disk. The reserve must be large enough for the mail that arrives between two
checks.
"""

FREED_AT = 1.05
"""After the server has refused mail, this multiple of the reserve must be free before it accepts mail again. With a
multiple of 1, a small change could make the server refuse and accept mail in quick succession."""

BARE_SHARE = 4
"""At least the reserve divided by this number must be free on the disk itself, because the write-ahead log cannot use
free space inside the database's files.
"""


def free_octets(directory: Path) -> int:
    """Return the number of free bytes on the disk that contains a directory. Raises `OSError`."""
    return shutil.disk_usage(directory).free


class DiskGuard:
    """Checks whether less space than the reserve is free on the disk that contains a directory."""

    def __init__(
        self,
        directory: Path,
        reserve_octets: int,
        *,
        emit: events.Emit,
        free: Callable[[Path], int] = free_octets,
        reusable: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`free` returns the number of free bytes on the disk, and may raise `OSError`.

        `reusable` returns the number of bytes that the database can store without making its files larger.
        """
        self._directory = directory
        self.reserve = reserve_octets
        """The number of bytes to keep free. A reload of the settings can change it."""
        self._emit = emit
        self._free = free
        self._reusable = reusable
        self._clock = clock
        self._checked_at = float("-inf")
        self._is_full = False

    def is_full(self) -> bool:
        """Whether the server should refuse mail now. The method checks the disk at most once every `CHECK_EVERY`
        seconds.
        """
        now = self._clock()
        if now - self._checked_at >= CHECK_EVERY:
            self._checked_at = now
            self._check()
        return self._is_full

    def free_for_mail(self) -> int:
        """Return the number of free bytes, with those inside the database. Raises `OSError` and `StoreUnavailable`."""
        return self._free(self._directory) + self._reusable()

    def _check(self) -> None:
        try:
            bare = self._free(self._directory)
            free = bare + self._reusable()
        except (OSError, StoreUnavailable):
            return  # the free space is unknown, so `_is_full` keeps its value; if the disk is full, a write will fail
        wanted = self.reserve * (FREED_AT if self._is_full else 1)
        is_full = free < wanted or bare < wanted / BARE_SHARE
        if is_full == self._is_full:
            return
        self._is_full = is_full
        kind = events.DiskFull if is_full else events.DiskFreed
        self._emit(kind(free=free, reserve=self.reserve))
