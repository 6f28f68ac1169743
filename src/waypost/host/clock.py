"""The real clock, and a virtual clock that can be advanced, so that a test need not wait days for the last retry."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

LONGEST_STEP = timedelta(hours=6)
"""The longest step by which the virtual clock advances. If an event is due sooner, the step ends at that event."""


def now() -> datetime:
    """Return the real time in UTC, truncated to whole milliseconds, because the store has that precision."""
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1_000, UTC)  # `datetime.replace` takes twice as long


class VirtualClock:
    """A clock that runs at the speed of the real clock, and can be advanced. Only the handling of mail uses the virtual
    clock; API calls and access keys use the real clock.
    """

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        """Return the current time of this clock."""
        return now() + self._ahead

    def set_back(self) -> None:
        """Show the real time again. The caller has deleted everything that happened later."""
        self._ahead = timedelta(0)

    async def advance(self, by: timedelta, rest: Callable[[], Awaitable[datetime | None]]) -> datetime:
        """Advance the clock in steps, so that every event before the new time happens when it is due. Return the new
        time.

        `rest` waits until no event is due at the current time, and returns the time of the next event, if any.
        """
        until = self() + by
        while True:
            due_at = await rest()
            moment = self()
            if moment >= until:
                return moment
            step = min(until, moment + LONGEST_STEP, max(due_at or until, moment))
            self._ahead += step - moment + timedelta(milliseconds=1)
