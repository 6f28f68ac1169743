"""The page with the waiting deliveries and their destinations."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.app.queue import redrive, waiting
from waypost.console.visits import Visit
from waypost.domain import durations, errors
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import Address
from waypost.domain.mail.messages import Message
from waypost.domain.mail.routes import shown, without_secrets

PAGE_SIZE = 50
"""The number of deliveries on a page."""

SAMPLED = 5
"""The number of deliveries to one destination from which the page finds out the state of the destination."""

_DELIVERY_ID = re.compile(r"[0-9a-f-]{36}\.[0-9a-f-]{36}")


class State(StrEnum):
    """The state of a destination."""

    ATTEMPTED = "attempted now"
    """A delivery to the destination is being attempted."""
    FAILING = "failing"
    """The last attempt failed, and the next one is due later."""
    WAITING = "waiting"
    """No attempt has failed. The deliveries wait for their turn."""


class DestinationRow(Struct, frozen=True, kw_only=True):
    """A destination as the page shows it."""

    name: str
    """The destination without its secrets."""
    state: State
    count: int
    """The number of the account's deliveries that wait."""
    due_at: datetime
    last_reply: str
    """Why an attempt failed: a reply of the peer or another reason, without secrets; empty if no attempt failed."""


class WaitingRow(Struct, frozen=True, kw_only=True):
    """A waiting delivery as the page shows it."""

    line: ports.QueueLine
    message: Message | None
    destination: str
    because: str


class Totals(Struct, frozen=True):
    """The numbers in the tabs of the page."""

    waiting: int
    dead: int


async def show(visit: Visit) -> Response:
    """Show the destinations for which mail waits, and the waiting deliveries: all, or those to one destination."""
    destination, after = visit.query.get("destination") or None, page_start(visit.query)

    def read(tx: ports.ReadTx) -> tuple[waiting.Page, list[DestinationRow], list[WaitingRow], Totals]:
        found = waiting.page(tx, visit.account, destination=destination, after=after, limit=PAGE_SIZE)
        rows = [_waiting_row(line, tx.message(visit.account, line.delivery.message_id)) for line in found.lines]
        return found, destinations(tx, visit.account, found.destinations), rows, totals(tx, visit.account)

    found, of_destinations, rows, counts = await visit.long_read(read, what="the queue")
    return visit.page(
        "queue.html",
        totals=counts,
        destinations=of_destinations,
        chosen=destination or "",
        rows=rows,
        after=after,
        next=found.lines[-1].delivery.id if len(found.lines) == PAGE_SIZE else "",
    )


def destinations(tx: ports.ReadTx, account: str, found: Sequence[waiting.Destination]) -> list[DestinationRow]:
    """Return the destinations of an account with their states."""
    return [
        destination_row(one, tx.queue(account, destination=one.waiting.destination, after="", limit=SAMPLED))
        for one in found
    ]


def destination_row(of: waiting.Destination, sample: Sequence[ports.QueueLine]) -> DestinationRow:
    """Return a destination with its state. `sample` has some of the deliveries that wait for it."""
    name = of.waiting.destination
    failed = next((line.because for line in sample if line.because), "")
    state = State.FAILING if failed else State.WAITING
    if any(line.is_claimed for line in sample):
        state = State.ATTEMPTED
    return DestinationRow(
        name=shown(name),
        state=state,
        count=of.count,
        due_at=of.waiting.due_at,
        last_reply=without_secrets(failed, name),
    )


def totals(tx: ports.ReadTx, account: str) -> Totals:
    """Return the number of waiting deliveries and of dead letters of an account."""
    queued = waiting.page(tx, account, destination=None, after="", limit=1)
    return Totals(sum(one.count for one in queued.destinations), redrive.count_dead_letters(tx, account))


def page_start(query: Mapping[str, str]) -> str:
    """Return the id of the delivery after which a page begins; empty for the first page. Raises `errors.Invalid`."""
    after = query.get("after", "")
    if after and not _DELIVERY_ID.fullmatch(after):
        raise errors.Invalid("The link to this page is not complete. Go back to the list.")
    return after


def address_of(text: str) -> Address | None:
    """Return the email address in a field; None if the field is empty. Raises `errors.Invalid`."""
    return addresses.parse_typed(text) if text else None


def since_of(text: str, now: datetime) -> datetime | None:
    """Return the time in a field: a duration before `now`, or a time with a time zone; None if the field is empty.
    Raises `errors.Invalid`.
    """
    if not text:
        return None
    duration = durations.parse(text)
    try:
        if duration is not None:
            return now - duration
        at = datetime.fromisoformat(text)
        if at.tzinfo:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise errors.Invalid(
        f"The time must be a duration, such as 12h, or a time, such as 2026-11-22T23:14:05Z, not {text!a}."
    )


def _waiting_row(line: ports.QueueLine, message: Message | None) -> WaitingRow:
    destination = line.delivery.destination
    return WaitingRow(
        line=line,
        message=message,
        destination=shown(destination),
        because=because(line.because, destination),
    )


def because(text: str, destination: str) -> str:
    """Return why a delivery was not completed, without secrets, and without the destination, which is beside it."""
    return without_secrets(text, destination).removeprefix(f"{shown(destination)} ")
