"""The time that tests wait for an expected event. No test has a shorter limit for this.

A limit close to the usual time would make tests fail on a slow or busy machine. A test of one of the product's time
limits advances the product's clock, or sets the limit far from `PATIENCE`: far below it if the limit must be reached,
and to `NEVER` if it must not be reached.
"""

import asyncio
import time

PATIENCE = 120.0
"""The maximum time, in seconds, to wait for an event. On a slow machine, an event takes less than a tenth of it."""

NEVER = 3600.0
"""A value, in seconds, for a time limit of the product that must not be reached during a test."""


async def until(condition):
    """Let the event loop run until a condition is true. Raises `TimeoutError` after `PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the condition may be any function
            await asyncio.sleep(0.002)


def wait_until(condition, why="it did not happen", *, pause=0.005):
    """Block until a condition is true, and return its value.

    `why` is the message of the failure, or a function that returns it.
    """
    give_up = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < give_up, why() if callable(why) else why
        time.sleep(pause)
    return found
