"""Lets many viewers follow the changes of one source, which one task polls.

A source has changes with increasing numbers for each key, such as an account. As long as a key has viewers, one task
polls the source for this key, and each change is read once for all of its viewers. A viewer that is slow, or that
continues after an interruption, reads earlier changes from the source itself.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Generic, TypeVar

from msgspec import Struct, field

T = TypeVar("T")

POLL_QUIET = 0.2
"""Seconds from a poll that found no changes to the next one."""

POLL_BUSY = 0.6
"""Seconds from a poll that found changes to the next one. If there are always changes, the viewers get many together,
because each wake-up of a viewer needs processor time."""

AGAIN = 5.0
"""Seconds until the next poll after a poll that failed."""

READ_AT_ONCE = 200
"""The maximum number of changes that are read together."""

SHARED = 1_000
"""The number of changes of a key that are kept in memory for all of its viewers."""


class Item(Struct, Generic[T], frozen=True):
    """One change."""

    number: int
    value: T


class Missed(Struct, frozen=True):
    """Changes between the viewer's place and the first change that the source still has are lost."""

    number: int
    """The number after which the viewer continues."""


Read = Callable[[str, int, int], Awaitable[Sequence[Item[T]]]]
"""Returns up to a number of changes of a key after a number, in order."""

Bounds = Callable[[], Awaitable[tuple[int, int]]]
"""Returns the numbers of the first and the last change that the source has; zeros if it has none."""


class _Watch(Struct, Generic[T]):
    """A key that has viewers."""

    last: int
    """The number up to which the source has been polled."""
    start: int
    """The number after which all changes are in `items`."""
    items: deque[Item[T]] = field(default_factory=deque)
    viewers: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def after(self, place: int) -> list[Item[T]]:
        """Return the shared changes after a number, in order."""
        found = list(takewhile(lambda item: item.number > place, reversed(self.items)))
        found.reverse()
        return found

    def add(self, items: Sequence[Item[T]]) -> None:
        """Add changes, and wake the viewers."""
        self.items += items
        self.last = items[-1].number
        while len(self.items) > SHARED:
            self.start = self.items.popleft().number
        news, self.news = self.news, asyncio.Event()
        news.set()


class Feeds(Generic[T]):
    """Polls a source for the keys that have viewers."""

    def __init__(
        self,
        read: Read[T],
        bounds: Bounds,
        *,
        report: Callable[[Exception], object] = lambda _: None,
        poll_quiet: float = POLL_QUIET,
        poll_busy: float = POLL_BUSY,
    ) -> None:
        """`report` is called with the error of a poll that failed."""
        self._read = read
        self._bounds = bounds
        self._report = report
        self.poll_quiet = poll_quiet
        """Seconds from a poll that found no changes to the next one."""
        self._poll_busy = poll_busy
        self._watches: dict[str, _Watch[T]] = {}

    @property
    def watched(self) -> int:
        """The number of keys that have viewers."""
        return len(self._watches)

    async def follow(
        self, key: str, after: int | None, *, quiet_seconds: float
    ) -> AsyncGenerator[Sequence[Item[T]] | Missed | int, None]:
        """Yield the changes of a key after a number, as soon as they are there, until the caller stops.

        If `after` is None, begin now. First yield the number at which the viewer begins. If no change comes for some
        seconds, yield an empty list. Yield `Missed` if changes were lost.
        """
        first, last = await self._bounds()
        place = last if after is None or after > last else after
        yield place
        if place < first - 1:
            place = first - 1
            yield Missed(place)
        async with self._watching(key, last) as watch:
            while True:
                news, found = watch.news, watch.after(place)
                if place < watch.start:
                    found = list(await self._read(key, place, READ_AT_ONCE))
                    if not found:
                        place = watch.start
                        continue
                elif not found:
                    try:
                        async with asyncio.timeout(quiet_seconds):
                            await news.wait()
                    except TimeoutError:
                        yield []
                    continue
                place = found[-1].number
                yield found

    @asynccontextmanager
    async def _watching(self, key: str, last: int) -> AsyncIterator[_Watch[T]]:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch(last=last, start=last)
            watch.task = asyncio.create_task(self._poll(key, watch))
        watch.viewers += 1
        try:
            yield watch
        finally:
            watch.viewers -= 1
            if not watch.viewers and watch.task:
                watch.task.cancel()
                del self._watches[key]

    async def _poll(self, key: str, watch: _Watch[T]) -> None:
        while True:
            try:
                found = await self._all(key, watch.last)
            except Exception as error:  # noqa: BLE001 - the viewers wait until the source works again
                self._report(error)
                await asyncio.sleep(AGAIN)
                continue
            if found:
                watch.add(found)
            if len(found) < SHARED:
                await asyncio.sleep(self._poll_busy if found else self.poll_quiet)

    async def _all(self, key: str, after: int) -> list[Item[T]]:
        """Return the changes that there are now, up to `SHARED`."""
        found: list[Item[T]] = []
        while len(found) < SHARED:
            part = await self._read(key, found[-1].number if found else after, READ_AT_ONCE)
            found += part
            if len(part) < READ_AT_ONCE:
                break
        return found
