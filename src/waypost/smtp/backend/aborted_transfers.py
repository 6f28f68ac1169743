"""Pieces of messages that did not come to their end are let go, a few at a time, so that nobody waits for that."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from waypost.app import ports
from waypost.app.mail import accept
from waypost.observe import events, tasks


class Leftovers:
    """A queue, cleared by one task. What is left of it when the server ends is for the next one."""

    def __init__(self, store: ports.Store, *, failed: Callable[[Exception], object], emit: events.Emit) -> None:
        """`failed` is told of what could not be let go; it is purged later."""
        self._emit = emit
        self._store = store
        self._failed = failed
        self._waiting: deque[str] = deque()
        self._clearing: asyncio.Task[None] | None = None

    def add(self, message_id: str) -> None:
        """This message will not come to its end."""
        self._waiting.append(message_id)
        if self._clearing is None:
            self._clearing = tasks.start(self._clear(), where="smtp", emit=self._emit)

    async def stop(self) -> None:
        """Wait for the step under way."""
        self._waiting.clear()
        if self._clearing:
            await asyncio.wait([self._clearing])

    async def _clear(self) -> None:
        try:
            while self._waiting:
                step = partial(accept.forget_octets, message_id=self._waiting[0])
                if not await self._store.write(step) and self._waiting:
                    self._waiting.popleft()
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody waits for it here
            self._waiting.clear()
            self._failed(error)
        finally:
            self._clearing = None
