"""Keeps the lists of mail current in all browsers that show them, by server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

The feed of an account (`net.feeds`) reads each noted change once in a process. All browsers of the process that show
the same list share one `_List`, which compares the changes with its filter, and makes the events once for all of them.
If very much changes, a list is read again instead, so that its cost does not depend on the amount of mail.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import changes
from waypost.app.mail.wanted import NotesWanted
from waypost.console.views.mail.rows import PAGE_SIZE, Page, Row
from waypost.domain.mail import messages
from waypost.net.feeds import Feeds, Item, Missed
from waypost.observe.incidents import Incidents

READ_AGAIN = 5.0
"""Seconds until the next reading after a failure."""

SILENCE = 15.0
"""Seconds without an event after which a comment is sent, which shows that the connection still works."""

LONGEST = 120.0
"""Seconds after which a stream ends. The browser connects again, and the server then checks the session and the policy
again."""

WAITING = 60
"""The maximum number of groups of events that wait for a slow browser. After that, the stream ends."""

KEPT = 200
"""The number of rows that a list compares with the changes."""

MANY = 20
"""If more rows are new at once, a person could not read them. Then only the newest `FEW` are sent, and the person is
asked to load the page again."""

FEW = 10

SHARE = 20
"""If very much changes and lists are read again, reading and sending them takes one in so many parts of the time."""

STEPS = 3
"""The number of steps of the event loop in which all browsers get the events of a list."""

OVERLAP = timedelta(seconds=10)
"""How far back a new stream begins: a message can be committed after messages whose transfer began later."""


class Change(Struct, frozen=True):
    """A change of a list."""

    name: str
    """`message` (a new row at the top), `changed`, `gone`, or `reload` (not all new rows are sent)."""
    id: str
    """The id of the message; empty for `reload`."""
    row: Row | None = None
    """The new row, for `message` and `changed`."""


RELOAD = Change("reload", "")


class Shown:
    """The rows at the top of a list."""

    def __init__(self, page: Page) -> None:
        """`page` is the first page of the list."""
        self._rows = {row.id: row for row in page.rows}
        self._oldest = page.rows[-1].id if page.next else ""
        """The id of the last row; empty if the list has no more rows."""

    @property
    def page(self) -> Page:
        """The first page of the list."""
        rows = [self._rows[each] for each in sorted(self._rows, reverse=True)]
        has_more = bool(self._oldest) or len(rows) > PAGE_SIZE
        return Page(rows[:PAGE_SIZE], rows[:PAGE_SIZE][-1].id if has_more and rows else None)

    def change(self, found: Mapping[str, Row | None]) -> Sequence[Change]:
        """Change rows, given by the ids of their messages; None for a message that the list does not have. Return the
        changes of the list, the oldest message first.
        """
        made = [change for message_id in sorted(found) for change in self._change(message_id, found[message_id])]
        self._drop()
        new = [change for change in made if change.name == "message"]
        if len(new) > MANY:
            return [RELOAD, *(change for change in made if change.name != "message"), *new[-FEW:]]
        return made

    def replace(self, page: Page) -> Sequence[Change]:
        """Change the rows to those of the first page of the list, and return the changes."""
        found: dict[str, Row | None] = {row.id: row for row in page.rows}
        oldest = page.rows[-1].id if page.next else ""
        return self.change({each: None for each in self._rows if each > oldest} | found)

    def _change(self, message_id: str, row: Row | None) -> Iterator[Change]:
        known = self._rows.get(message_id)
        if row is None:
            if known:
                del self._rows[message_id]
                yield Change("gone", message_id)
        elif known is None and message_id > self._oldest:
            self._rows[message_id] = row
            yield Change("message", message_id, row)
        elif known and known != row:
            self._rows[message_id] = row
            yield Change("changed", message_id, row)

    def _drop(self) -> None:
        """Forget the rows at the end."""
        for message_id in sorted(self._rows, reverse=True)[KEPT:]:
            del self._rows[message_id]
        if len(self._rows) == KEPT:
            self._oldest = min(self._rows)


def since(page: Page, seen: str) -> Iterator[Change]:
    """Yield the changes for a browser that has seen all mail up to the message with the id `seen`."""
    begin = _earlier(seen)
    if page.next and page.rows[-1].id > begin:
        yield RELOAD
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
        self.events: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self.is_over = False

    def send(self, events: bytes) -> None:
        try:
            self.events.put_nowait(events)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """End the stream, at the latest after the next events."""
        self.is_over = True
        if self.events.empty():
            self.events.put_nowait(b"")


class Source(Struct, frozen=True):
    """Where a list gets its rows from, and how it shows them."""

    account: str
    read: Callable[[], Awaitable[Page]]
    """Returns the first page of the list."""
    row: Callable[[ports.ListedMessage], Row | None]
    """Returns the row of a message; None if the list does not have the message."""
    render: Callable[[Row], str]
    """Returns the HTML of a row."""


class _List:
    """One list that browsers show."""

    def __init__(
        self, source: Source, feeds: Feeds[changes.Listed | changes.Many], turn: asyncio.Lock, incidents: Incidents
    ) -> None:
        """`turn` is the lock of the list that is read again."""
        self._source = source
        self._turn = turn
        self._feeds = feeds
        self._incidents = incidents
        self._shown: Shown | None = None
        self._is_read = asyncio.Event()
        self.browsers: set[_Browser] = set()
        self.task = asyncio.create_task(self._run())

    async def events_since(self, seen: str) -> bytes:
        """Return the events for a browser that has just begun to listen."""
        await self._is_read.wait()
        assert self._shown
        return self._written(since(self._shown.page, seen))

    async def _run(self) -> None:
        """Send the changes of the list to the browsers, until cancelled."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - the lists continue when the store works again
                self._incidents.report(error, where="console")
                await asyncio.sleep(READ_AGAIN)

    async def _follow(self) -> None:
        feed = self._feeds.follow(self._source.account, None, quiet_seconds=SILENCE)
        async with aclosing(feed) as found:
            async for each in found:
                match each:
                    case int() | Missed():
                        await self._read()
                    case [*items]:
                        values = [item.value for item in items]
                        listed = [value for value in values if isinstance(value, changes.Listed)]
                        if not values:
                            self._send_all(b": no news\n\n")
                        elif len(listed) == len(values):
                            self._change(listed)
                        else:
                            await self._read_in_turn()

    async def _read(self) -> None:
        """Read the first page, and send the changes since it was last read."""
        page = await self._source.read()
        if self._shown:
            self._send(self._shown.replace(page))
        else:
            self._shown = Shown(page)
            self._is_read.set()

    async def _read_in_turn(self) -> None:
        """Read the first page when no other list is read, and then let some time pass."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            began = loop.time()
            await self._read()
            for _ in range(STEPS):
                await asyncio.sleep(0)
            await asyncio.sleep((SHARE - 1) * (loop.time() - began))

    def _change(self, listed: Sequence[changes.Listed]) -> None:
        now = {one.message_id: one.message for one in listed}
        rows = {message_id: self._source.row(message) if message else None for message_id, message in now.items()}
        if self._shown:
            self._send(self._shown.change(rows))

    def _send(self, made: Sequence[Change]) -> None:
        if made:
            self._send_all(self._written(made))

    def _send_all(self, events: bytes) -> None:
        for browser in self.browsers:
            browser.send(events)

    def _written(self, made: Iterator[Change] | Sequence[Change]) -> bytes:
        return "".join(map(self._event, made)).encode("utf-8", "replace")

    def _event(self, change: Change) -> str:
        """Return a change as an event of a stream."""
        data = self._source.render(change.row) if change.row else change.id
        place = f"id: {change.id}\n" if change.name == "message" else ""
        lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
        return f"event: {change.name}\n{place}{lines}\n"


class Live:
    """The lists of one process."""

    def __init__(self, store: ports.Store, notes: NotesWanted, incidents: Incidents) -> None:
        self._incidents = incidents
        self._lists: dict[object, _List] = {}
        self._turn = asyncio.Lock()
        followed = changes.Followed(store, notes)

        async def read(account: str, after: int, limit: int) -> Sequence[Item[changes.Listed | changes.Many]]:
            found = await followed.read(changes.listed_after, account, after, limit)
            return [Item(one.number, one) for one in found]

        self._feeds = Feeds(read, followed.bounds, report=lambda error: incidents.report(error, where="console"))

    async def stream(self, key: object, source: Source, *, seen: str) -> AsyncIterator[bytes]:
        """Yield the events of a list for one browser. Streams with the same `key` share one list.

        `seen` is the id of the newest message that the browser shows; empty if it shows none.
        """
        listed = self._lists.get(key)
        if listed is None:
            listed = self._lists[key] = _List(source, self._feeds, self._turn, self._incidents)
        browser = _Browser()
        listed.browsers.add(browser)
        ending = asyncio.get_running_loop().call_later(LONGEST, browser.end)
        try:
            yield b"retry: 1000\n\n"
            yield await listed.events_since(seen)
            while not browser.is_over:
                yield await browser.events.get()
        finally:
            ending.cancel()
            listed.browsers.discard(browser)
            if not listed.browsers and self._lists.get(key) is listed:
                del self._lists[key]
                listed.task.cancel()
