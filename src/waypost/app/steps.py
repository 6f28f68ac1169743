"""Runs long work in small steps, each a transaction of its own, so that mail and calls are not delayed.

A step is a synchronous use case that does a part of the work. The work may be stopped after any step.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Tx = TypeVar("Tx")
Done = TypeVar("Done")
Position = TypeVar("Position")


@dataclass(frozen=True, slots=True)
class Step(Generic[Done, Position]):
    """The result of one step."""

    done: Done
    next: Position | None
    """Where the next step begins; None if there is nothing more to do."""


async def run_steps(
    run: Callable[[Callable[[Tx], Step[Done, Position]]], Awaitable[Step[Done, Position]]],
    step: Callable[[Tx, Position | None], Step[Done, Position]],
) -> AsyncIterator[Done]:
    """Run steps, one after the other, until there is nothing more to do; yields the result of each.

    `run` is `Store.write`, or calls it or `Store.long_read`. `step` gets the transaction, and where to begin: None at
    first, and then the `next` of the step before.
    """
    position: Position | None = None
    while True:
        found = await run(_beginning_at(position, step))
        yield found.done
        position = found.next
        if position is None:
            return


async def repeat_step(run: Callable[[Callable[[Tx], int]], Awaitable[int]], step: Callable[[Tx], int]) -> int:
    """Run one step again and again, until it reports that there is nothing more to do. Returns the sum of its results.

    `run` is as in `run_steps`. `step` needs no position, because it deletes what it finds: it returns how much it did,
    or whether there may be more.
    """
    count = 0
    while done := await run(step):
        count += done
    return count


def _beginning_at(
    position: Position | None, step: Callable[[Tx, Position | None], Step[Done, Position]]
) -> Callable[[Tx], Step[Done, Position]]:
    return lambda tx: step(tx, position)
