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
from waypost.delivery.queue.leases import Leases

AT_ONCE = 50
"""The maximum number of outcomes that one transaction records; a longer transaction would delay other writes."""

PAUSE_AFTER_FAILURE = 1.0
"""Seconds that pass after the store has failed until it is used again."""

Then = Callable[[bool | None], None]
"""A function that is called once with the result: whether the outcome was recorded, or False if another worker has
claimed the delivery. The result is None if the outcome could not be recorded, and the failure is in the log.
"""


class Results:
    """The outcomes of one worker that wait to be recorded, and those that are being recorded."""

    def __init__(self, store: ports.Store, leases: Leases, *, failed: Callable[[Exception, str], None]) -> None:
        """`failed` logs a failure, with the id of the delivery if it affects only one."""
        self._store, self._leases, self._failed = store, leases, failed
        self._waiting: deque[tuple[Outcome, Then]] = deque()
        self._together: asyncio.Task[None] | None = None
        self._alone = set[asyncio.Task[None]]()

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """The tasks that record outcomes now."""
        return self._alone | ({self._together} if self._together else set())

    def add(self, outcome: Outcome, then: Then) -> None:
        """Record an outcome, and then call `then`.

        If the store fails, the outcome is recorded later, as long as its lease is valid, because a message whose
        delivery is not recorded would be sent again.
        """
        self._waiting.append((outcome, then))
        if self._together is None:
            self._together = asyncio.create_task(self._record_waiting())

    async def _record_waiting(self) -> None:
        try:
            while self._waiting:
                await self._record([self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))])
        finally:
            self._together = None

    async def _record(self, batch: Sequence[tuple[Outcome, Then]]) -> None:
        """Record outcomes in one transaction. If it fails, record each of them in a transaction of its own, so that an
        error affects only the outcome that causes it.
        """
        if len(batch) == 1:
            await self._record_alone(*batch[0])
            return
        try:
            recorded = await self._store.write(partial(attempt.record_all, outcomes=[outcome for outcome, _ in batch]))
        except Exception as error:  # noqa: BLE001 - it may be the fault of only one outcome
            if not isinstance(error, STORE_FAILURES):  # otherwise the failure is logged if the store fails again
                self._failed(error, "")
            for each in batch:
                task = asyncio.create_task(self._record_alone(*each))
                self._alone.add(task)
                task.add_done_callback(self._alone.discard)
            return
        for (outcome, then), is_recorded in zip(batch, recorded, strict=True):
            self._tell(outcome, then, is_recorded)

    async def _record_alone(self, outcome: Outcome, then: Then) -> None:
        is_recorded = None
        while is_recorded is None:
            try:
                is_recorded = await self._store.write(partial(attempt.record, outcome=outcome))
            except Exception as error:  # noqa: BLE001 - the delivery is attempted again after its lease has ended
                self._failed(error, outcome.claimed.delivery.id)
                if not isinstance(error, STORE_FAILURES) or self._leases.has_ended(outcome.claimed):
                    break
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
        self._tell(outcome, then, is_recorded)

    def _tell(self, outcome: Outcome, then: Then, is_recorded: bool | None) -> None:
        try:
            then(is_recorded)
        except Exception as error:  # noqa: BLE001 - a bug, which must not affect other outcomes
            self._failed(error, outcome.claimed.delivery.id)
