"""A deadline for a connection."""

import asyncio
from collections.abc import Callable
from typing import Any


class Deadline:
    """A timer that calls a function once, unless the timer is reset or cleared first."""

    __slots__ = ("_timer",)

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether the deadline was set and has not been cleared since."""
        return self._timer is not None

    def set(self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[..., object], *args: Any) -> None:
        """Call `action` with `args` when this number of seconds has passed.

        A later call to `set` replaces this deadline.
        """
        self.clear()
        self._timer = loop.call_later(seconds, action, *args)

    def clear(self) -> None:
        """Cancel the deadline, if one is set."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
