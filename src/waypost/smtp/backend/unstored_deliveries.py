"""Stores planned deliveries in the background if they could not be stored immediately after their message was
accepted.
"""

import asyncio
from collections.abc import Awaitable, Callable

from waypost.observe.tasks import OnError, Tasks

PAUSES = (1.0, 5.0, 30.0)
"""The pauses, in seconds, before successive attempts to store deliveries. The last pause is also used before all later
attempts.
"""


class UnstoredDeliveries:
    """The messages whose planned deliveries could not be stored, and the background task that stores them.

    Deliveries that are still not stored when the server stops are stored after its next start.
    """

    def __init__(
        self,
        store_all: Callable[[str], Awaitable[None]],
        *,
        failed: Callable[[Exception], object],
        tasks: Tasks,
    ) -> None:
        """`store_all` stores the planned deliveries of the message that has the given id. `failed` is called with each
        error.
        """
        self._store_all = store_all
        self._failed = failed
        self._tasks = tasks
        self._waiting = set[str]()
        self._storing: asyncio.Task[None] | None = None

    def add(self, message_id: str) -> None:
        """Add a message."""
        self._waiting.add(message_id)
        if self._storing is None:
            self._storing = self._tasks.start(self._store_waiting, where="smtp", on_error=OnError.LEAVE)

    async def _store_waiting(self) -> None:
        try:
            failures = 0
            while self._waiting:
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += not await self._try_all()
        finally:
            self._storing = None

    async def _try_all(self) -> bool:
        """Try to store the deliveries of each waiting message. Return whether all of the deliveries are stored."""
        for message_id in sorted(self._waiting):
            try:
                await self._store_all(message_id)
                self._waiting.discard(message_id)
            except Exception as error:  # noqa: BLE001 - the plan stays on disk, so the server can try again
                self._failed(error)
        return not self._waiting
