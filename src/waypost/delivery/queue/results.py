"""Record the outcomes of attempts. Outcomes that arrive while earlier outcomes are being recorded share the next
transaction.

So no outcome waits for others to arrive, and a busy worker needs few transactions
(docs/decisions/0044-outcomes-are-recorded-together.md).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.queue import attempt
from waypost.app.queue.attempt import Outcome

AT_ONCE = 50
"""The maximum number of outcomes that one transaction records; a longer transaction would delay other writes."""

_Waiting = tuple[Outcome, "asyncio.Future[bool | None]"]
"""An outcome, and whether it was recorded; None if it must be recorded in a transaction of its own."""


class Results:
    """The outcomes of one worker that wait to be recorded."""

    def __init__(self, store: ports.Store, *, failed: Callable[[Exception], None]) -> None:
        """`failed` logs an error that is not a failure of the store."""
        self._store, self._failed = store, failed
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def record(self, outcome: Outcome) -> bool:
        """Record an outcome. Returns whether it was recorded; False if another worker has claimed the delivery.

        Raises the exceptions of `ports.Store.write`. If outcomes cannot be recorded together, each is recorded in a
        transaction of its own, so that an error affects only the outcome that causes it.
        """
        recorded: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, recorded))
        if self._task is None:
            self._task = asyncio.create_task(self._record_waiting())
        together = await recorded  # None if this outcome must be recorded alone
        if together is None:
            (together,) = await self._write([outcome])
        return together

    async def stop(self) -> None:
        """Stop waiting for the transaction that is in progress, because no caller waits for its result."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _record_waiting(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                await self._record_batch([each for each in batch if not each[1].done()])
        finally:
            self._task = None

    async def _record_batch(self, batch: list[_Waiting]) -> None:
        """Record outcomes together, and pass the results to the callers."""
        if not batch:
            return
        try:
            results: Sequence[bool | None] = await self._write([outcome for outcome, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised again in the caller
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            if not isinstance(error, STORE_FAILURES):
                self._failed(error)
            results = [None] * len(batch)  # each caller records its own outcome
        for (_, future), recorded in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(recorded)

    async def _write(self, outcomes: list[Outcome]) -> list[bool]:
        if len(outcomes) > 1:
            return await self._store.write(partial(attempt.record_all, outcomes=outcomes))
        return [await self._store.write(partial(attempt.record, outcome=outcomes[0]))]
