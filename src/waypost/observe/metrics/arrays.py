"""The values of counters, histograms and the gauges of processes, as arrays of numbers in memory.

Each process of a server has an array, and writes only to this array. The page shows the sum of all arrays. If there are
several processes, the supervisor creates the arrays, in memory that all processes share, before it starts the worker
processes. A worker process that replaces another continues with its array, so no counter decreases.
"""

import mmap
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from waypost.observe.events import Emit, Event
from waypost.observe.measures import Measures
from waypost.observe.metrics.counting import counts_of
from waypost.observe.metrics.families import Sample
from waypost.observe.metrics.measuring import Counted
from waypost.observe.metrics.places import FIRST_GAUGE, PLACES, SIZE

_OCTETS = 8
"""The size of a number. Processors read and write it in one step."""


class Arrays:
    """The arrays of all processes of one server."""

    def __init__(self, workers: int = 0) -> None:
        """`workers` is the number of worker processes besides the process that creates the arrays. Raises `OSError`."""
        memory = mmap.mmap(-1, (1 + workers) * SIZE * _OCTETS)
        self._all = memoryview(memory).cast("d")
        self._count = 1 + workers
        self.since = time.time()
        """The time when the arrays were created, as a Unix timestamp."""

    def of(self, process: int) -> "Metrics":
        """Return the metrics of a process: 0 for the one that created the arrays, or the number of a worker process.

        The gauges of an earlier worker process with this number are removed.
        """
        self.drop_gauges(process)
        return Metrics(self._array(process), self)

    def drop_gauges(self, process: int) -> None:
        """Set the gauges of a process to 0, because it has ended."""
        self._array(process)[FIRST_GAUGE:] = memoryview(bytes((SIZE - FIRST_GAUGE) * _OCTETS)).cast("d")

    def totals(self) -> Sequence[float]:
        """Return the sums of the numbers of all processes, by place."""
        return [sum(column) for column in zip(*map(self._array, range(self._count)), strict=True)]

    def _array(self, process: int) -> "memoryview[float]":
        return self._all[process * SIZE :][:SIZE]


class Metrics:
    """The metrics of one process."""

    def __init__(self, own: "memoryview[float]", arrays: Arrays) -> None:
        self._own: Any = own
        self._arrays = arrays
        self.measures: Measures = Counted(own)
        # Several threads emit events, and `x[i] += 1` is not one step.
        self._lock = threading.Lock()

    @property
    def since(self) -> float:
        """The time when the server was started, as a Unix timestamp."""
        return self._arrays.since

    def counting(self, emit: Emit) -> Emit:
        """Return a function that counts an event and then passes it to `emit`."""
        count = self.count

        def counted(event: Event) -> None:
            count(event)
            emit(event)

        return counted

    def count(self, event: Event) -> None:
        """Add what an event counts to the counters. Any thread may call this method."""
        counts = counts_of(event)
        if not counts:
            return
        own = self._own
        with self._lock:
            for family, labels, amount in counts:
                series = PLACES[family]
                place = series.get(labels)
                if place is None:
                    place = series[family.bounded(labels)]
                own[place] += amount

    def put(self, gauges: Iterable[Sample]) -> None:
        """Set the values of gauges of this process."""
        for family, labels, value in gauges:
            self._own[PLACES[family][labels]] = value

    def totals(self) -> Sequence[float]:
        """Return the sums of the numbers of all processes, by place."""
        return self._arrays.totals()
