"""The real time, also in a test that freezes the time with a library such as freezegun.

Such libraries replace the functions `time.time` and `time.monotonic` in all modules. A wait would then never end, and
the server would refuse signatures.
"""

import time


def monotonic() -> float:
    """Return the time of the monotonic clock, in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def seconds_since_1970() -> float:
    """Return the time of day, in seconds since 1970 (UTC)."""
    return time.clock_gettime(time.CLOCK_REALTIME)
