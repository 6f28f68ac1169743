"""Deletes the pieces of incomplete messages, in small batches, in the background."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from waypost.app import ports
from waypost.app.mail import accept
from waypost.app.steps import repeat_step
from waypost.observe.tasks import OnError, Tasks


class AbortedTransfers:
    """A queue of incomplete messages, and the background task that deletes them.

    A later purge deletes the pieces that still exist when the server stops.
    """

    def __init__(self, store: ports.Store, *, failed: Callable[[Exception], object], tasks: Tasks) -> None:
        """`failed` is called with the error if a message cannot be deleted. A later purge then deletes the message."""
        self._tasks = tasks
        self._store = store
        self._failed = failed
        self._waiting: deque[str] = deque()
        self._deleting: asyncio.Task[None] | None = None

    def add(self, message_id: str) -> None:
        """Add an incomplete message to the queue, so that its pieces are deleted."""
        self._waiting.append(message_id)
        if self._deleting is None:
            self._deleting = self._tasks.start(self._delete_all, where="smtp", on_error=OnError.LEAVE)

    async def stop(self) -> None:
        """Stop the background task after it has deleted the current message."""
        self._waiting.clear()
        if self._deleting:
            await asyncio.wait([self._deleting])

    async def _delete_all(self) -> None:
        try:
            while self._waiting:
                message_id = self._waiting.popleft()
                await repeat_step(self._store.write, partial(accept.forget_octets, message_id=message_id))
        except Exception as error:  # noqa: BLE001 - no mail depends on the deletion
            self._waiting.clear()
            self._failed(error)
        finally:
            self._deleting = None
