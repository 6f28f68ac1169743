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

LONGEST_PAUSE = 10.0
"""The maximum number of seconds between two attempts to start a worker process."""

MOST_FAILED_STARTS = 5
"""How often in a row a worker process may fail to start while no other worker process works."""


def pause_before_restart(ends: Sequence[float], now: float) -> float | None:
    """Return the number of seconds to wait before the next replacement; None if the server must stop.

    `ends` contains the times at which worker processes that were ready have ended without being told to, in seconds on
    the monotonic clock. It includes the end that this replacement is for. `now` is the current time.
    """
    if _since(ends, now - PERIOD) > MOST:
        return None
    return PAUSE if _since(ends, now - SOON) > AT_ONCE else 0.0


def pause_after_failed_start(failed: int, *, others_work: bool) -> float | None:
    """Return the number of seconds to wait before a worker process that could not start is started again; None if the
    server must stop.

    `failed` is the number of times in a row that the worker process could not start. `others_work` is true if another
    worker process serves clients. Then the server never stops, because the cause may be temporary.
    """
    if failed > MOST_FAILED_STARTS and not others_work:
        return None
    return min(LONGEST_PAUSE, PAUSE * 2.0 ** min(failed - 1, 10))


def _since(ends: Sequence[float], start: float) -> int:
    return sum(1 for end in ends if end > start)
