"""The clock: the real one, or a virtual one that can be advanced, so that a test sees the fifth day of retries
today.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

LONGEST_STEP = timedelta(hours=6)
"""The clock advances from one due event to the next, and at most by this."""


def now() -> datetime:
    """The clock of the real world, to the millisecond, as it is stored."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class VirtualClock:
    """It runs as the real one does, and can be advanced. It governs mail; signatures of calls use the real one."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        """The present moment of this clock."""
        return now() + self._ahead

    async def advance(self, by: timedelta, rest: Callable[[], Awaitable[datetime | None]]) -> datetime:
        """Advance the clock, and let everything that becomes due on the way happen at its time.

        `rest` waits until there is nothing to do at that moment, and returns when something is due next.
        """
        until = self() + by
        while True:
            due_at = await rest()
            moment = self()
            if moment >= until:
                return moment
            step = min(until, moment + LONGEST_STEP, max(due_at or until, moment))
            self._ahead += step - moment + timedelta(milliseconds=1)
