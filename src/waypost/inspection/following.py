"""The page of the inspection API that streams the changes to the mail of an account, as server-sent events.

Source: HTML Standard, section 9.2 "Server-sent events".
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from waypost.app import ports
from waypost.app.mail import changes, noting
from waypost.app.mail.wanted import NotesWanted
from waypost.domain import errors, moments
from waypost.inspection import answers
from waypost.net import event_streams
from waypost.net.feeds import Feeds, Item, Missed

QUIET = 15.0
"""Seconds after which a comment is sent if nothing else is, so that proxies do not close the connection."""

RETRY = 1_000
"""Milliseconds after which a browser connects again."""

CATCH_UP = 10.0
"""The maximum number of seconds for which a stream that begins now waits for mail to be noted."""

LOOK_EVERY = 0.1
"""Seconds between two looks whether the mail is noted."""


def feeds(
    store: ports.Store, notes: NotesWanted, *, report: Callable[[Exception], object], poll_every: float | None = None
) -> Feeds[bytes]:
    """Return the feeds of the changes to the mail of each account, as server-sent events.

    `poll_every` is the number of seconds between two polls, for tests; None for the usual times.
    """
    followed = changes.Followed(store, notes)

    async def read(account: str, after: int, limit: int) -> Sequence[Item[bytes]]:
        notes.renew_streams()
        found = await followed.read(changes.after, account, after, limit)
        return [Item(one.change.number, encoded(one)) for one in found]

    if poll_every is None:
        return Feeds(read, followed.bounds, report=report)
    return Feeds(read, followed.bounds, report=report, poll_quiet=poll_every, poll_busy=poll_every)


def encoded(found: changes.Changed) -> bytes:
    """Return a change as a server-sent event."""
    change = found.change
    body = {
        "kind": change.kind,
        "at": moments.iso8601(change.at),
        "message": change.message_id,
        "delivery": f"{change.message_id}.{change.email_address_id}" if change.email_address_id else None,
        "deliveries": [answers.delivery(*each) for each in found.deliveries],
    }
    return _event("change", change.number, json.dumps(body, separators=(",", ":")))


def _event(name: str, number: int, data: str) -> bytes:
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n".encode()


class FollowingPage:
    """The page that streams changes."""

    def __init__(self, feeds: Feeds[bytes], store: ports.Store, notes: NotesWanted, clock: ports.Clock) -> None:
        """`clock` is the clock for mail."""
        self._feeds = feeds
        self._store = store
        self._notes = notes
        self._clock = clock

    async def events(self, request: Request, account: str) -> Response:
        """Stream the changes to the mail of an account, beginning after the change that the request names."""
        given = request.headers.get("last-event-id") or request.query_params.get("after")
        if given is not None and not (given.isascii() and given.isdigit() and len(given) <= _DIGITS):
            raise errors.Invalid("`after` or `Last-Event-ID` must be the number of a change.")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        stream = self._stream(account, None if given is None else int(given))
        return StreamingResponse(stream, media_type=event_streams.MEDIA_TYPE, headers=headers)

    async def _until_noted(self) -> None:
        """Wait until the job has noted all mail up to now, but not for long. While no client used the notes, it noted
        nothing. Without this wait, a stream that begins now would begin with that mail.
        """
        self._notes.renew_streams()
        is_noted = partial(noting.is_noted, until=self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP):
                while not await self._store.long_read(is_noted, what="the changes to mail"):  # noqa: ASYNC110 - any process may note it
                    await asyncio.sleep(min(LOOK_EVERY, self._feeds.poll_quiet))

    async def _stream(self, account: str, after: int | None) -> AsyncIterator[bytes]:
        if after is None:
            await self._until_noted()
        async with aclosing(self._feeds.follow(account, after, quiet_seconds=QUIET)) as found:
            async for each in found:
                if isinstance(each, int):
                    yield f"retry: {RETRY}\n".encode() + _event("ready", each, "{}")
                elif isinstance(each, Missed):
                    yield _event("missed", each.number, "{}")
                else:
                    yield b"".join(item.value for item in each) or b": quiet\n\n"


_DIGITS = 18
