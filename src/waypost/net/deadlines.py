"""One deadline of a connection."""

import asyncio
from collections.abc import Callable
from typing import Any


class Deadline:
    """Does one thing later, unless it is set again or cleared before."""

    __slots__ = ("_timer",)

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it was set, and not cleared since."""
        return self._timer is not None

    def set(self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[..., object], *args: Any) -> None:
        """Call `action` with `args` in this many seconds, in place of what was set before."""
        self.clear()
        self._timer = loop.call_later(seconds, action, *args)

    def clear(self) -> None:
        """Call nothing."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
