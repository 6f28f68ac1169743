"""Counts the calls in progress, so that a group of connections can wait for them before it closes."""

import asyncio

from waypost.app import ports


class Callers:
    """The calls in progress. Each call runs in a `with` block. The object belongs to the running event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._closed = False
        self._left = asyncio.Event()
        """An event that is set after `close` has been called and the last call has ended."""

    def __enter__(self) -> None:
        """Begin a call. Raises `StoreUnavailable` after `close` has been called."""
        if self._closed:
            raise ports.StoreUnavailable("the store is closed")
        self._count += 1

    def __exit__(self, *_: object) -> None:
        """End a call."""
        self._count -= 1
        if self._closed and not self._count:
            self._left.set()

    async def close(self, seconds: float) -> bool:
        """Refuse further calls, and wait for the calls in progress. Return whether they have ended within `seconds`."""
        self._closed = True
        if self._count:
            try:
                async with asyncio.timeout(seconds):
                    await self._left.wait()
            except TimeoutError:
                return False
        return True
