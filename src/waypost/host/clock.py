"""The time: the real one, or a virtual one that can be moved on, so that a test sees the fifth day of retries today."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

LONGEST_STEP = timedelta(hours=6)
"""Time is moved on from one thing that is due to the next, and at most by this."""


def now() -> datetime:
    """The clock of the real world, to the millisecond, as it is stored."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class VirtualClock:
    """Runs as the real one does, and can be moved on. It governs mail; signatures of calls go by the real one."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        """The moment that it is here."""
        return now() + self._ahead

    async def advance(self, by: timedelta, rest: Callable[[], Awaitable[datetime | None]]) -> datetime:
        """Move the time on, and let everything that becomes due on the way happen when it is due.

        `rest` waits until there is nothing to do at that moment, and says when there is something next.
        """
        until = self() + by
        while True:
            due_at = await rest()
            moment = self()
            if moment >= until:
                return moment
            step = min(until, moment + LONGEST_STEP, max(due_at or until, moment))
            self._ahead += step - moment + timedelta(milliseconds=1)
