"""Measures how far this machine's clock is ahead of the database's clock, and warns if they differ too much."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.delivery.queue.leases import CLOCKS_MAY_DIFFER
from waypost.observe import events
from waypost.observe.tasks import OnError, Tasks

EVERY = 60.0
"""Seconds between two measurements."""

LOOK_EVERY = 5.0
"""Seconds between two comparisons of this machine's clock with its monotonic clock, which need no database."""

WAS_SET = 1.0
"""If the clock has moved by so many seconds more or less than the monotonic clock, it was set, and is measured."""


class DatabaseClock:
    """The difference between the clock of this machine and the clock of the database.

    Every process measures it for its own metrics. Only one process of a server warns.
    """

    def __init__(
        self,
        store: ports.Store,
        emit: events.Emit,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._emit = store, emit
        self._clock, self._monotonic = clock, monotonic
        self.ahead: float | None = None
        """The last measurement in seconds; None before the first."""
        self._differs = False
        self._next = float("-inf")
        """The time of the next measurement, on the monotonic clock."""
        self._offset = float("-inf")
        """The difference between this machine's two clocks at the last measurement; infinite before the first."""

    async def may_be_wrong(self) -> bool:
        """Run a step. Return whether the clocks differ more than they may, or may differ so much, because the clock was
        set since the last measurement and the store fails now.
        """
        await self.step()
        return self._differs or self._was_set

    async def start(self, tasks: Tasks, opened: AsyncExitStack, *, has_connections: bool) -> None:
        """Measure, and begin to measure repeatedly, until `opened` is closed. A store that is a file (no
        `has_connections`) is not measured.
        """
        if not has_connections:
            self.ahead = 0.0
            return
        await self.step()
        opened.callback(tasks.start(self.run, where="upkeep", on_error=OnError.RESTART).cancel)

    async def run(self) -> None:
        """Measure repeatedly, until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(LOOK_EVERY)

    async def step(self) -> None:
        """Measure, if the last measurement is old or the clock was set since then. If the store fails, the last
        measurement remains, and the next step measures again.
        """
        if self._monotonic() < self._next and not self._was_set:
            return
        offset = self._clock() - self._monotonic()
        try:
            ahead = await self._store.clock_ahead()
        except STORE_FAILURES:  # the edges log the failure for their clients
            return
        self.ahead, self._offset, self._next = ahead, offset, self._monotonic() + EVERY
        differs = abs(ahead) > CLOCKS_MAY_DIFFER
        if differs != self._differs:
            self._differs = differs
            kind = events.ClockDiffers if differs else events.ClockAgrees
            self._emit(kind(ahead=round(ahead, 3)))

    @property
    def _was_set(self) -> bool:
        """Whether this machine's clock was set since the last measurement."""
        return abs(self._clock() - self._monotonic() - self._offset) >= WAS_SET
