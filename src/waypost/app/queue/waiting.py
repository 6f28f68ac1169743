"""List the queued deliveries of an account, and the destinations for which they wait."""

from collections.abc import Sequence

from msgspec import Struct

from waypost.app import ports
from waypost.domain.mail import routes

COUNTED_UP_TO = 10_000
"""The maximum number of deliveries that are counted for one destination."""

SUMMED_UP = 100
"""The maximum number of destinations whose waiting deliveries are counted."""

MAX_COMPARED = 10_000
"""If the destination in a request has hidden secrets, it is compared with at most this many of the account's
destinations."""


class Destination(Struct, frozen=True):
    """A destination for which deliveries of an account wait."""

    waiting: ports.Waiting
    count: int
    """The number of the account's deliveries that wait for the destination, at most `COUNTED_UP_TO`."""


class Page(Struct, frozen=True):
    """A page of queued deliveries."""

    lines: Sequence[ports.QueueLine]
    """The deliveries, sorted by id."""
    destinations: Sequence[Destination]
    """The destinations of all queued deliveries of the account, at most `SUMMED_UP`."""


def page(tx: ports.ReadTx, account: str, *, destination: str | None, after: str, limit: int) -> Page:
    """Return up to `limit` queued deliveries of an account whose ids are greater than `after`.

    If `destination` is given, the page has only the deliveries to it. It can be in the form that people see, with "…"
    in place of secrets; then the page has the deliveries to all of the account's destinations that are shown like this.
    """
    meant = _meant(tx, account, destination) if destination else [None]
    lines = [line for one in meant for line in tx.queue(account, destination=one, after=after, limit=limit)]
    lines = sorted(lines, key=_place)[:limit] if len(meant) > 1 else lines
    known = tx.destinations_of(account, limit=SUMMED_UP)  # only those of the account
    return Page(
        lines,
        [
            Destination(one, tx.count_queued(account, one.destination, up_to=COUNTED_UP_TO))
            for one in known
            if destination is None or one.destination in meant
        ],
    )


def _meant(tx: ports.ReadTx, account: str, destination: str) -> list[str]:
    """Return the destinations that match the `destination` in a client's request.

    A destination is shown with "…" in place of its secrets. If `destination` contains "…", return all of the account's
    destinations that are shown like this. Otherwise return only `destination`.
    """
    if "…" not in destination:
        return [destination]
    known = tx.destinations_of(account, limit=MAX_COMPARED)
    return [one.destination for one in known if destination in {one.destination, routes.shown(one.destination)}]


def _place(line: ports.QueueLine) -> tuple[str, str]:
    """Return the sort key of a delivery in the queue."""
    return line.delivery.message_id, line.delivery.email_address_id
