"""The stream of events that keeps a list of mail current in a browser."""

import re
from collections.abc import AsyncIterator
from functools import partial

from starlette.responses import Response, StreamingResponse

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.console.guard import Guard
from waypost.console.views.mail import rows
from waypost.console.views.mail.live import Live, Source
from waypost.console.views.mail.selection import Selection, selected
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.net import event_streams
from waypost.observe.incidents import Incidents

_ID = re.compile(r"[0-9a-f-]{36}|")


class Events:
    """The streams of one process."""

    def __init__(self, guard: Guard) -> None:
        self._parts = guard.parts
        self._pages = guard.pages
        incidents = Incidents(guard.parts.emit, of_store=STORE_FAILURES)
        self._live = Live(guard.parts.store, guard.parts.notes, incidents)

    async def show(self, visit: Visit) -> Response:
        """Send the changes of a list as they happen. A browser that was disconnected continues where it was."""
        selection = selected(visit.query)
        seen = visit.request.headers.get("last-event-id") or visit.query.get("seen", "")
        if not selection.is_live or not _ID.fullmatch(seen):
            raise errors.Invalid("This list has no events.")
        stream = self._stream(visit.account, selection, seen)
        return StreamingResponse(stream, media_type=event_streams.MEDIA_TYPE, headers={"x-accel-buffering": "no"})

    def _stream(self, account: str, selection: Selection, seen: str) -> AsyncIterator[bytes]:
        read = partial(rows.page, account=account, selection=selection)
        source = Source(
            account=account,
            read=partial(self._parts.store.long_read, read, what="the mail", account=account),
            row=partial(_row, selection),
            render=partial(self._rendered, selection),
        )
        return self._live.stream((account, selection), source, seen=seen)

    def _rendered(self, selection: Selection, row: rows.Row) -> str:
        return self._pages.fragment("mail_row.html", row=row, selection=selection, chosen="")


def _row(selection: Selection, message: ports.ListedMessage) -> rows.Row | None:
    """Return the row of a message; None if it has no delivery that the list shows."""
    filters = selection.filters
    shown = [one for one in message.deliveries if filters.is_met(one, message.received_at)]
    return rows.row(message, shown) if shown else None
