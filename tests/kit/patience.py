"""How long tests wait for what must happen. No test has a shorter limit of its own for that.

A limit that is close to the usual time fails on a slow or busy machine, though nothing is wrong. Where a time limit of
the product is tested, the test moves the product's clock, or the limit is far from `PATIENCE`: far below it where it
has to be reached, `NEVER` where it must not be.
"""

import asyncio
import time

PATIENCE = 120.0
"""Seconds. What a test waits for takes less than a tenth of it on a slow machine. Only a failing test waits so long."""

NEVER = 3600.0
"""Seconds, for a time limit of the product that must not be reached before a test has lost its patience."""


async def until(condition):
    """Let the loop go on until the condition holds. Raises `TimeoutError` when the patience is over."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - it may be anything that can be looked at
            await asyncio.sleep(0.002)


def wait_until(condition, why="it did not happen", *, pause=0.005):
    """Block until the condition holds, and return what it returned. `why` may be a function that returns the text."""
    give_up = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < give_up, why() if callable(why) else why
        time.sleep(pause)
    return found
