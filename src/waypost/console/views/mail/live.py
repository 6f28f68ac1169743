"""Keeps the lists of mail current in all browsers that show them.

All browsers of one process that show the same list share one feed, which reads the newest page twice a second. So the
cost does not depend on the number of browsers, and mail that another process has accepted appears too. The difference
between two readings becomes the events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from waypost.console.views.mail.rows import Page, Row
from waypost.domain.mail import messages
from waypost.observe.incidents import Incidents

READ_EVERY = 0.5
"""Seconds between two readings of a list."""

READ_AGAIN = 5.0
"""Seconds until the next reading after a failure."""

SILENCE = 15.0
"""Seconds without an event after which a comment is sent, which shows that the connection still works."""

LONGEST = 120.0
"""Seconds after which a stream ends. The browser connects again, and the server then checks the session again."""

WAITING = 500
"""The maximum number of events that wait for a slow browser. After that, the stream ends."""

OVERLAP = timedelta(seconds=10)
"""How far back a new stream begins: a message can be committed after messages whose transfer began later."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a list."""

    name: str
    """`message` (a new row at the top), `changed`, `gone`, or `reload` (more new rows than one page has)."""
    id: str
    """The id of the message; empty for `reload`."""
    row: Row | None = None
    """The new row, for `message` and `changed`."""


def changes(before: Page, after: Page) -> Iterator[Change]:
    """Yield the changes from one reading of the first page to the next, the oldest message first."""
    known = {row.id: row for row in before.rows}
    present = {row.id for row in after.rows}
    if known and after.next and known.keys().isdisjoint(present):
        yield Change("reload", "")
    first = before.rows[-1].id if before.next else ""
    for row in reversed(after.rows):
        if row.id not in known:
            if row.id > first:  # otherwise the row was on the second page before
                yield Change("message", row.id, row)
        elif known[row.id] != row:
            yield Change("changed", row.id, row)
    first = after.rows[-1].id if after.next else ""
    for row in before.rows:
        if row.id not in present and row.id > first:
            yield Change("gone", row.id)


def since(page: Page, seen: str) -> Iterator[Change]:
    """Yield the changes for a browser that has seen all mail up to the message with the id `seen`."""
    begin = _earlier(seen)
    if page.next and page.rows[-1].id > begin:
        yield Change("reload", "")
    for row in reversed(page.rows):
        if row.id > begin:
            yield Change("message", row.id, row)


def _earlier(message_id: str) -> str:
    """Return an id that is `OVERLAP` older than a message."""
    try:
        at = datetime.fromtimestamp(int(message_id.replace("-", "")[:12], 16) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return messages.first_id(at - OVERLAP)


class _Browser:
    """A browser that shows a list."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[str] = asyncio.Queue(WAITING)
        self.is_over = False

    def send(self, event: str) -> None:
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            self.is_over = True


@dataclass(frozen=True, slots=True)
class Source:
    """Where a feed gets its list from, and how it shows the rows."""

    read: Callable[[], Awaitable[Page]]
    """Returns the first page of the list."""
    render: Callable[[Row], str]
    """Returns the HTML of a row."""


class _Feed:
    """One list that browsers show."""

    def __init__(self, source: Source, incidents: Incidents) -> None:
        self._source = source
        self._incidents = incidents
        self._page: Page | None = None
        self._reading = asyncio.Lock()
        self.browsers: set[_Browser] = set()
        self.task = asyncio.create_task(self._run())

    async def events_since(self, seen: str) -> Sequence[str]:
        """Return the events for a browser that has just begun to listen."""
        async with self._reading:
            if self._page is None:
                self._page = await self._source.read()
            return [self._written(change) for change in since(self._page, seen)]

    async def _run(self) -> None:
        """Send the changes of the list to the browsers, until cancelled."""
        pause = READ_EVERY
        while True:
            await asyncio.sleep(pause)
            try:
                await self._look()
                pause = READ_EVERY
            except Exception as error:  # noqa: BLE001 - the lists continue when the store works again
                self._incidents.report(error, where="console")
                pause = READ_AGAIN

    async def _look(self) -> None:
        async with self._reading:
            page = await self._source.read()
            events = [self._written(change) for change in changes(self._page, page)] if self._page else []
            self._page = page
            for event in events:
                for browser in self.browsers:
                    browser.send(event)

    def _written(self, change: Change) -> str:
        """Return a change as an event of a stream."""
        data = self._source.render(change.row) if change.row else change.id
        place = f"id: {change.id}\n" if change.name == "message" else ""
        lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
        return f"event: {change.name}\n{place}{lines}\n"


class Live:
    """The feeds of one process."""

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents
        self._feeds: dict[object, _Feed] = {}

    async def stream(self, key: object, source: Source, *, seen: str) -> AsyncIterator[str]:
        """Yield the events of a list, as text, for one browser. Lists with the same `key` share one feed.

        `seen` is the id of the newest message that the browser shows; empty if it shows none.
        """
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(source, self._incidents)
        browser = _Browser()
        feed.browsers.add(browser)
        try:
            yield "retry: 1000\n\n"
            for event in await feed.events_since(seen):
                yield event
            ends_at = asyncio.get_running_loop().time() + LONGEST
            while not browser.is_over and asyncio.get_running_loop().time() < ends_at:
                try:
                    async with asyncio.timeout(SILENCE):
                        yield await browser.events.get()
                except TimeoutError:
                    yield ": no news\n\n"
        finally:
            feed.browsers.discard(browser)
            if not feed.browsers and self._feeds.get(key) is feed:
                del self._feeds[key]
                feed.task.cancel()
