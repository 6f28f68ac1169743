"""Lets many viewers follow the changes of one source, which one task polls.

A source has changes with increasing numbers for each key, such as an account. As long as a key has viewers, one task
polls the source for this key, and each change is read and encoded once for all of its viewers. A viewer that is slow,
or that continues after an interruption, reads earlier changes from the source itself.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile

POLL_EVERY = 0.5
"""Seconds between two polls of a key."""

AGAIN = 5.0
"""Seconds until the next poll after a poll that failed."""

READ_AT_ONCE = 200
"""The maximum number of changes that are read together."""

SHARED = 1_000
"""The number of changes of a key that are kept in memory for all of its viewers."""


@dataclass(frozen=True, slots=True)
class Item:
    """One encoded change."""

    number: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Missed:
    """Changes between the viewer's place and the first change that the source still has are lost."""

    number: int
    """The number after which the viewer continues."""


Read = Callable[[str, int, int], Awaitable[Sequence[Item]]]
"""Returns up to a number of changes of a key after a number, in order."""

Bounds = Callable[[], Awaitable[tuple[int, int]]]
"""Returns the numbers of the first and the last change that the source has; zeros if it has none."""


@dataclass(slots=True)
class _Watch:
    """A key that has viewers."""

    last: int
    """The number up to which the source has been polled."""
    start: int
    """The number after which all changes are in `items`."""
    items: deque[Item] = field(default_factory=deque)
    viewers: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def after(self, place: int) -> list[Item]:
        """Return the shared changes after a number, in order."""
        found = list(takewhile(lambda item: item.number > place, reversed(self.items)))
        found.reverse()
        return found

    def add(self, items: Sequence[Item]) -> None:
        """Add changes, and wake the viewers."""
        self.items += items
        self.last = items[-1].number
        while len(self.items) > SHARED:
            self.start = self.items.popleft().number
        news, self.news = self.news, asyncio.Event()
        news.set()


class Feeds:
    """Polls a source for the keys that have viewers."""

    def __init__(
        self,
        read: Read,
        bounds: Bounds,
        *,
        report: Callable[[Exception], object] = lambda _: None,
        poll_every: float = POLL_EVERY,
    ) -> None:
        """`report` is called with the error of a poll that failed."""
        self._read = read
        self._bounds = bounds
        self._report = report
        self._poll_every = poll_every
        self._watches: dict[str, _Watch] = {}

    @property
    def watched(self) -> int:
        """The number of keys that have viewers."""
        return len(self._watches)

    async def follow(
        self, key: str, after: int | None, *, quiet_seconds: float
    ) -> AsyncGenerator[Sequence[Item] | Missed | int, None]:
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
    async def _watching(self, key: str, last: int) -> AsyncIterator[_Watch]:
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

    async def _poll(self, key: str, watch: _Watch) -> None:
        while True:
            try:
                found = await self._read(key, watch.last, READ_AT_ONCE)
            except Exception as error:  # noqa: BLE001 - the viewers wait until the source works again
                self._report(error)
                await asyncio.sleep(AGAIN)
                continue
            if found:
                watch.add(found)
            if len(found) < READ_AT_ONCE:
                await asyncio.sleep(self._poll_every)
