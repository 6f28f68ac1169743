"""Memory that all worker processes of a server share, for the limits that apply to the whole server.

The supervisor creates the memory before it starts the worker processes. A table in the memory is divided into sets of
eight entries, and the hash of a key determines the key's set. The table therefore needs a fixed amount of memory, and a
look-up reads at most eight entries. Python's hashes of strings are the same in all worker processes, because the
supervisor forks the worker processes. Clients cannot predict these hashes.
"""

import fcntl
import mmap
import os
import tempfile
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

SETS = 2_048
"""The number of sets in a table."""

WAYS = 8
"""The number of entries in a set."""

PATIENCE = 0.005
"""The maximum number of seconds to wait for the lock of the shared memory."""

_ENTRY_OCTETS = 16
"""The size of an entry: a hash of 64 bits, and a time or a count of 64 bits."""

_TABLE_OCTETS = SETS * WAYS * _ENTRY_OCTETS


class SharedMemory:
    """The memory of one server: one table of times for all worker processes, and one table of counts for each."""

    def __init__(self, workers: int) -> None:
        """`workers` is the number of worker processes. Raises `OSError`."""
        self._memory = memoryview(mmap.mmap(-1, _TABLE_OCTETS * (1 + workers)))
        self._workers = workers
        # The operating system releases the lock of a process that is killed, unlike a lock in the memory itself.
        self._lock = _file_in_memory()

    def state_of(self, worker: int) -> "SharedState":
        """Return the state of the limits for one worker process, whose number counts from 1.

        The counts of an earlier worker process with the same number are deleted, because its connections are closed.
        """
        own = self._table(worker)
        own[:] = bytes(_TABLE_OCTETS)
        others = [self._table(number) for number in range(1, self._workers + 1) if number != worker]
        return SharedState(self._table(0), own, others, self._lock)

    def _table(self, number: int) -> memoryview:
        return self._memory[number * _TABLE_OCTETS :][:_TABLE_OCTETS]


class SharedState:
    """The implementation of `ports.LimitState` for a worker process."""

    def __init__(self, times: memoryview, own: memoryview, others: list[memoryview], lock: int) -> None:
        self._times, self._own, self._others, self._lock = times, own, others, lock

    def times(self, name: str) -> "SharedTimes":
        """Return the table of times with this name, which all worker processes share."""
        return SharedTimes(self._times, self._lock, name)

    def counts(self, name: str) -> "SharedCounts":
        """Return the table of counts with this name, which all worker processes share."""
        return SharedCounts(self._own, self._others, name)


class SharedTimes:
    """The implementation of `ports.Times` in shared memory.

    If a set is full, a new entry replaces the entry whose time comes first.
    """

    def __init__(self, table: memoryview, lock: int, name: str) -> None:
        self._hashes, self._times = table.cast("Q"), table.cast("d")
        self._lock, self._name = lock, name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the shared memory during the `with` block.

        A process holds the lock for microseconds. If another process holds it for longer, that process was probably
        stopped, and the block runs without the lock. Then a rate may be slightly wrong, but no client waits.
        """
        is_held = self._is_held()
        try:
            yield
        finally:
            if is_held:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _is_held(self) -> bool:
        """Wait for the lock, but not for long. Return whether this process has the lock."""
        deadline = None
        while True:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                now = time.monotonic()
                deadline = deadline or now + PATIENCE
                if now > deadline:
                    return False
                os.sched_yield()
            else:
                return True

    def get(self, key: Hashable) -> float:
        """Return the time of a key, or 0 if the table has no time for the key."""
        wanted, places = _places(self._name, key)
        for place in places:
            if self._hashes[place] == wanted:
                return self._times[place + 1]
        return 0.0

    def put(self, key: Hashable, time: float, *, now: float) -> None:  # noqa: ARG002 - see the class
        """Set the time of a key."""
        wanted, places = _places(self._name, key)
        chosen = places[0]
        for place in places:
            if self._hashes[place] == wanted:
                chosen = place
                break
            if self._times[place + 1] < self._times[chosen + 1]:
                chosen = place
        self._hashes[chosen], self._times[chosen + 1] = wanted, time


class SharedCounts:
    """The implementation of `ports.Counts` in shared memory.

    Each process writes only to a table of its own, so the tables need no lock. If a set of the own table is full,
    further keys in this set are counted only for the own process.
    """

    def __init__(self, own: memoryview, others: list[memoryview], name: str) -> None:
        self._counts: Counter[str] = Counter()
        self._own, self._others, self._name = own.cast("Q"), [other.cast("Q") for other in others], name

    def __len__(self) -> int:
        """Return the number of keys that this process has counted and whose count is not zero."""
        return len(self._counts)

    def of(self, key: str) -> int:
        """Return the count of a key in all worker processes."""
        wanted, places = _places(self._name, key)
        total = self._counts[key]
        for table in self._others:
            for place in places:
                if table[place] == wanted:
                    total += table[place + 1]
                    break
        return total

    def change(self, key: str, by: int) -> None:
        """Add `by` to the count of a key, and let the other worker processes know the new count."""
        self._counts[key] += by
        count = self._counts[key]
        if not count:
            del self._counts[key]
        wanted, places = _places(self._name, key)
        own = self._own
        free = None
        for place in places:
            if own[place] == wanted:
                own[place + 1] = count
                return
            if free is None and not own[place + 1]:
                free = place
        if free is not None and count:
            own[free], own[free + 1] = wanted, count


def _file_in_memory() -> int:
    """Return the file descriptor of an empty file that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("waypost-limits")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _places(name: str, key: Hashable) -> tuple[int, range]:
    """Return the hash of a key in the table with this name, and the places of the entries that it may have.

    Places count in units of eight bytes, so an entry has two places.
    """
    found = hash((name, key)) & 0xFFFF_FFFF_FFFF_FFFF
    first = (found >> 32) % SETS * WAYS * 2
    return found or 1, range(first, first + WAYS * 2, 2)
