"""Decides when the supervisor replaces a worker process that has ended."""

from collections.abc import Sequence

PERIOD = 60.0
"""The number of seconds for which the end of a worker process counts."""

MOST = 20
"""The maximum number of worker processes that may end within `PERIOD`. After one more, the server stops, because its
worker processes would only end again.
"""

SOON = 10.0
"""The number of seconds for which the end of a worker process delays the next replacements."""

AT_ONCE = 3
"""The number of worker processes that are replaced without a pause, if they end within `SOON` seconds."""

PAUSE = 0.5
"""The number of seconds before a worker process is replaced, if more than `AT_ONCE` have ended."""


def pause_before_restart(ends: Sequence[float], now: float) -> float | None:
    """Return the number of seconds to wait before the next replacement; None if the server must stop.

    `ends` contains the times at which worker processes have ended without being told to, in seconds on the monotonic
    clock. It includes the end that this replacement is for. `now` is the current time.
    """
    if _since(ends, now - PERIOD) > MOST:
        return None
    return PAUSE if _since(ends, now - SOON) > AT_ONCE else 0.0


def _since(ends: Sequence[float], start: float) -> int:
    return sum(1 for end in ends if end > start)
