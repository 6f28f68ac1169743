"""Run long work in small steps, each in its own transaction, so that the work does not delay mail and API calls.

A step is a synchronous use case that does part of the work. The caller can stop the work after any step.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from msgspec import Struct

Tx = TypeVar("Tx")
Done = TypeVar("Done")
Position = TypeVar("Position")


class Step(Struct, Generic[Done, Position], frozen=True):
    """The result of one step."""

    done: Done
    next: Position | None
    """The position at which the next step begins; None if there is nothing more to do."""


async def run_steps(
    run: Callable[[Callable[[Tx], Step[Done, Position]]], Awaitable[Step[Done, Position]]],
    step: Callable[[Tx, Position | None], Step[Done, Position]],
) -> AsyncIterator[Done]:
    """Run steps, one after the other, until there is nothing more to do. Yields each step's `done` value.

    `run` is `Store.write`, or a function that calls `Store.write` or `Store.long_read`. `step` gets the transaction and
    the position at which to begin: None for the first step, and then the `next` of the previous step.
    """
    position: Position | None = None
    while True:
        found = await run(_beginning_at(position, step))
        yield found.done
        position = found.next
        if position is None:
            return


async def repeat_step(run: Callable[[Callable[[Tx], int]], Awaitable[int]], step: Callable[[Tx], int]) -> int:
    """Repeat one step until it reports that there is nothing more to do. Returns the sum of the step's results.

    `run` has the same meaning as in `run_steps`. `step` needs no position: it deletes the rows that it finds, so the
    next run finds the remaining rows. `step` returns the number of rows that it handled, or a boolean that says whether
    there may be more rows to handle.
    """
    count = 0
    while done := await run(step):
        count += done
    return count


def _beginning_at(
    position: Position | None, step: Callable[[Tx, Position | None], Step[Done, Position]]
) -> Callable[[Tx], Step[Done, Position]]:
    return lambda tx: step(tx, position)
