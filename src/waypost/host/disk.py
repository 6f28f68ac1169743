"""The disk guard: before the disk is full, the server refuses mail for a while, so that stored mail can still be
delivered.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from waypost.app.ports import StoreUnavailable
from waypost.observe import events

LOOK_EVERY = 1.0
"""Seconds between two checks of the disk. Mail that arrives meanwhile has room in the reserve."""

FREED_AT = 1.05
"""A full disk counts as free again with this many times the reserve free. Otherwise a few octets would turn mail on and
off."""

BARE_SHARE = 4
"""This part of the reserve must be free on the disk itself, for the write-ahead log of the database."""


def free_octets(directory: Path) -> int:
    """Octets that may be written where a directory is. Raises `OSError`."""
    return shutil.disk_usage(directory).free


class DiskGuard:
    """Knows whether the disk of a directory has less than a reserve free."""

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
        """`free` asks the disk, and may raise `OSError`; `reusable` tells what files have room for without growing."""
        self._directory = directory
        self._reserve = reserve_octets
        self._emit = emit
        self._free = free
        self._reusable = reusable
        self._clock = clock
        self._looked_at = float("-inf")
        self._is_full = False

    def is_full(self) -> bool:
        """Whether mail should not be taken now. It checks the disk once in a while, however often it is called."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look()
        return self._is_full

    def _look(self) -> None:
        try:
            bare = self._free(self._directory)
            free = bare + self._reusable()
        except (OSError, StoreUnavailable):
            return  # nobody knows; whether it can be written is found out by whoever writes
        wanted = self._reserve * (FREED_AT if self._is_full else 1)
        is_full = free < wanted or bare < wanted / BARE_SHARE
        if is_full == self._is_full:
            return
        self._is_full = is_full
        kind = events.DiskFull if is_full else events.DiskFreed
        self._emit(kind(free=free, reserve=self._reserve))
