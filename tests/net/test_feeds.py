"""Feeds: one task polls for all viewers of a key, and no viewer misses a change."""

import asyncio
import functools
from contextlib import aclosing

from tests.kit.patience import NEVER, PATIENCE, until
from waypost.net import feeds
from waypost.net.feeds import Feeds, Item, Missed


def on_a_loop(test):
    """Run a test on its own event loop."""

    @functools.wraps(test)
    def runs(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), PATIENCE))

    return runs


class Source:
    """A source whose changes are numbers."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)
        self.reads = 0
        self.error = None

    async def read(self, _, after, limit):
        self.reads += 1
        if self.error:
            error, self.error = self.error, None
            raise error
        return [Item(number, b"%d" % number) for number in self.numbers if number > after][:limit]

    async def bounds(self):
        return (self.numbers[0], self.numbers[-1]) if self.numbers else (0, 0)


def feeds_of(source, **options):
    return Feeds(source.read, source.bounds, **{"poll_quiet": 0.001, "poll_busy": 0.001} | options)


class Viewer:
    """Follows a key, and keeps what it gets."""

    def __init__(self, feeds, after=None, key="k", quiet=NEVER):
        self.got = []
        self.task = asyncio.create_task(self._run(feeds, key, after, quiet))

    async def _run(self, feeds, key, after, quiet):
        async with aclosing(feeds.follow(key, after, quiet_seconds=quiet)) as found:
            async for each in found:
                self.got += [item.number for item in each] if isinstance(each, list) and each else [each]

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])


@on_a_loop
async def test_all_viewers_get_all_changes_from_one_task():
    source = Source(1, 2)
    found = feeds_of(source)
    viewers = [Viewer(found) for _ in range(200)]
    await until(lambda: all(viewer.got == [2] for viewer in viewers))
    reads = source.reads
    source.numbers += [3, 5]
    await until(lambda: all(viewer.got == [2, 3, 5] for viewer in viewers))
    assert source.reads - reads < 100  # and not one for each viewer
    assert found.watched == 1
    for viewer in viewers:
        await viewer.stop()
    assert found.watched == 0


@on_a_loop
async def test_a_viewer_continues_after_the_change_that_it_names():
    source = Source(1, 2, 3)
    found = feeds_of(source)
    viewer, other = Viewer(found, after=1), Viewer(found, after=9)
    await until(lambda: viewer.got == [1, 2, 3] and other.got == [3])
    source.numbers.append(4)
    await until(lambda: viewer.got[-1] == other.got[-1] == 4)
    await viewer.stop()
    await other.stop()


@on_a_loop
async def test_a_viewer_learns_that_it_missed_changes():
    viewer = Viewer(feeds_of(Source(5, 6)), after=2)
    await until(lambda: viewer.got == [2, Missed(4), 5, 6])
    await viewer.stop()


@on_a_loop
async def test_a_slow_viewer_reads_older_changes_from_the_source(monkeypatch):
    monkeypatch.setattr(feeds, "SHARED", 2)
    source = Source(1)
    found = feeds_of(source)
    fast = Viewer(found)
    slow = found.follow("k", None, quiet_seconds=NEVER)
    assert await anext(slow) == 1
    await until(lambda: fast.got == [1])
    source.numbers += range(2, 12)
    await until(lambda: fast.got[-1] == 11)
    got = []
    while not got or got[-1] < 11:
        got += [item.number for item in await anext(slow)]
    assert got == list(range(2, 12))
    await slow.aclose()
    await fast.stop()


@on_a_loop
async def test_a_quiet_feed_yields_empty_lists():
    viewer = Viewer(feeds_of(Source()), quiet=0.001)
    await until(lambda: viewer.got[:3] == [0, [], []])
    await viewer.stop()


@on_a_loop
async def test_a_poll_that_fails_is_reported_and_repeated(monkeypatch):
    monkeypatch.setattr(feeds, "AGAIN", 0.001)
    source, reported = Source(1), []
    source.error = ValueError()
    viewer = Viewer(feeds_of(source, report=reported.append))
    await until(lambda: reported)
    source.numbers.append(2)
    await until(lambda: viewer.got == [1, 2])
    await viewer.stop()
