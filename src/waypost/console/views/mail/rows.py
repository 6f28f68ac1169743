"""The rows of a list of mail: one for each message, with all its deliveries that the list has."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import mailbox
from waypost.console.views.mail.selection import Selection
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.mail_filter import Filtered
from waypost.domain.mail.messages import Message

PAGE_SIZE = 40
"""The maximum number of rows on a page. With more, the HTML of a page would be larger than 40 KB."""

DELIVERIES_READ = 100
"""The number of deliveries that are read for one page. A message can have several deliveries."""

WAYS_SHOWN = 2
"""The number of addresses in a row."""

SIGNS = {Status.DELIVERED: ("✓", "green"), Status.QUEUED: ("◷", "amber"), Status.DEAD: ("✕", "red")}
"""The sign and the colour of each status."""

_WORDS = {Status.DELIVERED: "", Status.QUEUED: ", waiting", Status.DEAD: ", dead"}


class Shown(Filtered, Protocol):
    """What a row shows of a delivery."""

    @property
    def via(self) -> str | None:
        """The alias that forwarded the message."""
        ...


class Chip(Struct, frozen=True):
    """A short text with a sign and a colour."""

    sign: str
    text: str
    colour: str


class Row(Struct, frozen=True, kw_only=True):
    """A message in a list."""

    id: str
    sender: str
    """The envelope sender; empty for the null sender."""
    subject: str
    at: datetime
    ways: tuple[str, ...]
    """The first addresses that the message was delivered to, such as `help@x.example → support@x.example`."""
    more: int
    """How many addresses are not in `ways`."""
    chips: tuple[Chip, ...]


class Page(Struct, frozen=True):
    """A page of a list."""

    rows: Sequence[Row] = ()
    """The messages, newest first."""
    next: str | None = None
    """The cursor of the next page; None after the last page."""


def page(tx: ports.ReadTx, account: str, selection: Selection) -> Page:
    """Return a page of the mail of an account."""
    places = mailbox.places(tx, account, selection.filters, after=selection.after, limit=DELIVERIES_READ)
    found = tx.listed_in(places)
    has_more = len(places) == DELIVERIES_READ
    if has_more and len(found) > 1:
        found.pop()  # the rest of its deliveries may be missing
    rows = [row(message, message.deliveries) for message in found[:PAGE_SIZE]]
    return Page(rows, rows[-1].id if rows and (has_more or len(found) > PAGE_SIZE) else None)


def row(message: Message | ports.ListedMessage, deliveries: Sequence[Shown]) -> Row:
    """Return the row of a message with some of its deliveries."""
    ways = ways_of(deliveries)
    return Row(
        id=message.id,
        sender=message.envelope.sender if isinstance(message, Message) else message.sender,
        subject=message.subject,
        at=message.received_at,
        ways=tuple(ways[:WAYS_SHOWN]),
        more=len(ways[WAYS_SHOWN:]),
        chips=tuple(chips_of(deliveries)),
    )


def ways_of(deliveries: Iterable[Shown]) -> list[str]:
    """Return the addresses of deliveries. An alias and its primary are one entry with an arrow."""
    deliveries = list(deliveries)
    aliases = {delivery.via for delivery in deliveries}
    return [
        f"{one.via} → {one.address.text}" if one.via else one.address.text
        for one in deliveries
        if one.via or one.address.text not in aliases
    ]


def chips_of(deliveries: Sequence[Shown]) -> list[Chip]:
    """Return the chips of deliveries, each once. The inbox of an alias that has forwarded the message needs none."""
    aliases = {delivery.via for delivery in deliveries}
    shown = [one for one in deliveries if one.address.text not in aliases or one.status is not Status.DELIVERED]
    return list(dict.fromkeys(map(_chip, shown)))


def _chip(delivery: Shown) -> Chip:
    """Return the chip with the reason and the status of a delivery."""
    sign, colour = SIGNS[delivery.status]
    return Chip(sign, f"{delivery.reason.value}{_WORDS[delivery.status]}", colour)
