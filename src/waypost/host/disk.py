"""The disk guard: before the disk is full, mail is refused for a while, so that what is here can still be worked on."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from waypost.app.ports import StoreUnavailable
from waypost.observe import events

LOOK_EVERY = 1.0
"""Seconds between two looks at the disk. What comes in meanwhile has room in the reserve."""

FREED_AT = 1.05
"""Of what is full: with so much free it is so no more. Else a few octets would turn mail on and off."""

BARE_SHARE = 4
"""One in so many of the reserve must be free on the disk itself, for what a database writes ahead."""


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
        """Whether mail should not be taken now. Asked often, it looks seldom."""
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
