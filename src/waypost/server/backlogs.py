"""Reads how many deliveries wait in the queue, and for how long, without delaying the request for the metrics."""

import asyncio
import time
from collections.abc import Callable, Mapping

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.domain.mail import messages
from waypost.observe.metrics import families
from waypost.observe.metrics.counting import kind_of_route
from waypost.observe.metrics.families import Sample
from waypost.observe.tasks import OnError, Tasks

PATIENCE = 0.02
"""The maximum number of seconds to wait for a reading. If it takes longer, the previous values are shown."""

SHARE = 100
"""Readings take at most one part in so many of the time: a long queue is read less often."""


class Backlogs:
    """The deliveries that wait in the queue, by kind of route."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        tasks: Tasks,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        """`clock` is the clock for mail."""
        self._store, self._clock, self._tasks = store, clock, tasks
        self._monotonic = monotonic
        self._patience = patience
        self._found: Mapping[str, tuple[int, str]] | None = None
        """The number of deliveries for each kind of route, and the id of the oldest message; None if not known."""
        self._next = float("-inf")
        """The time of the next reading, on the monotonic clock."""
        self._reading: asyncio.Task[None] | None = None

    async def samples(self) -> list[Sample]:
        """Return the values of the metrics on the queue. The list is empty if the queue cannot be read."""
        if self._reading is None and self._monotonic() >= self._next:
            self._reading = self._tasks.start(self._read, where="metrics", on_error=OnError.LEAVE)
        if self._reading:
            await asyncio.wait({self._reading}, timeout=self._patience)
        if self._found is None:
            return []
        now = self._clock()
        samples: list[Sample] = []
        for series in families.QUEUE_DELIVERIES.series:
            count, oldest_id = self._found.get(series[0], (0, ""))
            age = (now - messages.time_of(oldest_id)).total_seconds() if oldest_id else 0.0
            samples += (families.QUEUE_DELIVERIES, series, count), (families.QUEUE_AGE, series, max(0.0, age))
        return samples

    async def _read(self) -> None:
        began = self._monotonic()
        try:
            found = await self._store.long_read(lambda tx: tx.backlogs(), what="the length of the queue")
        except STORE_FAILURES:  # the edges log the failure for their clients
            self._found = None
        else:
            self._found = _by_kind(found)
        finally:
            ended = self._monotonic()
            self._next = ended + SHARE * (ended - began)
            self._reading = None


def _by_kind(backlogs: list[ports.Backlog]) -> Mapping[str, tuple[int, str]]:
    """Return the number of deliveries for each kind of route, and the id of the oldest message among them."""
    found: dict[str, tuple[int, str]] = {}
    for one in backlogs:
        kind = kind_of_route(one.destination)
        count, oldest = found.get(kind, (0, one.oldest_id))
        found[kind] = (count + one.count, min(oldest, one.oldest_id))
    return found
