"""Pieces of messages that did not come to their end are let go, a few at a time, so that nobody waits for that."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from waypost.app import ports
from waypost.app.mail import accept
from waypost.app.steps import repeat_step
from waypost.observe.tasks import OnError, Tasks


class Leftovers:
    """A queue, cleared by one task. What is left of it when the server ends is for the next one."""

    def __init__(self, store: ports.Store, *, failed: Callable[[Exception], object], tasks: Tasks) -> None:
        """`failed` is told of what could not be let go; it is purged later."""
        self._tasks = tasks
        self._store = store
        self._failed = failed
        self._waiting: deque[str] = deque()
        self._clearing: asyncio.Task[None] | None = None

    def add(self, message_id: str) -> None:
        """This message will not come to its end."""
        self._waiting.append(message_id)
        if self._clearing is None:
            self._clearing = self._tasks.start(self._clear, where="smtp", on_error=OnError.LEAVE)

    async def stop(self) -> None:
        """Wait until the message is done of which pieces are being deleted."""
        self._waiting.clear()
        if self._clearing:
            await asyncio.wait([self._clearing])

    async def _clear(self) -> None:
        try:
            while self._waiting:
                message_id = self._waiting.popleft()
                await repeat_step(self._store.write, partial(accept.forget_octets, message_id=message_id))
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody waits for it here
            self._waiting.clear()
            self._failed(error)
        finally:
            self._clearing = None
