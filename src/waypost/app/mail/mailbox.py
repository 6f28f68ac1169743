"""List all mail of an account, and all refusals of its mail."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail.accept import LONGEST_TRANSFER
from waypost.domain import errors
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Delivery, ids_in
from waypost.domain.mail.mail_filter import ALL_MAIL, MailFilter
from waypost.domain.mail.messages import Message


def page(
    tx: ports.ReadTx, account: str, filters: MailFilter = ALL_MAIL, *, after: str | None, limit: int
) -> list[tuple[Delivery, Message]]:
    """Return up to `limit` deliveries of an account that meet the filter, each with its message, newest first.
    Deliveries that were sent over a route and that no inbox keeps are included.

    `after` is the id of the delivery or message after which the page begins; None for the first page.
    """
    return tx.deliveries_in(places(tx, account, filters, after=after, limit=limit))


def places(tx: ports.ReadTx, account: str, filters: MailFilter, *, after: str | None, limit: int) -> list[ports.Place]:
    """Return the places of the deliveries that `page` returns."""
    place = None if after is None else ids_in(after)
    # The id of a message contains the time at which its transfer began, which is before its acceptance.
    if filters.before:
        newest = (messages.first_id(filters.before), "")
        place = min(place, newest) if place else newest
    oldest_id = messages.first_id(filters.since) if filters.since else ""
    found = tx.mailbox(account, filters, after=place, oldest_id=oldest_id, limit=limit)
    if filters.since and filters.since > messages.EPOCH and len(found) < limit:
        found += _begun_before(tx, account, filters, filters.since, after=place, limit=limit - len(found))
    return found


def _begun_before(
    tx: ports.ReadTx, account: str, filters: MailFilter, since: datetime, *, after: ports.Place | None, limit: int
) -> list[ports.Place]:
    """Return the places of up to `limit` deliveries that meet a filter. Their messages were accepted since a time, but
    their transfers began before it. There are few, because SMTP clients send most messages within a second.
    """
    first, last = messages.first_id(since - LONGEST_TRANSFER), messages.first_id(since)
    ids = tx.accepted_since(since, first=first, last=last, limit=_BEGUN_BEFORE)
    found = [
        (delivery.message_id, delivery.email_address_id)
        for delivery, message in (tx.deliveries_listed(account, ids) if ids else [])
        if filters.is_met(delivery, message.received_at)
    ]
    return sorted((each for each in found if after is None or each < after), reverse=True)[:limit]


_BEGUN_BEFORE = 1_000
"""The maximum number of messages that `_begun_before` reads."""


class Refusals(Struct, frozen=True):
    """A page of refusals."""

    refusals: Sequence[ports.Refusal]
    """The refusals, newest first."""
    next: str | None
    """The cursor of the next page; None after the last page."""


def refusals(
    tx: ports.ReadTx, account: str, *, servers_owner: str, since: datetime, after: str | None, limit: int
) -> Refusals:
    """Return up to `limit` refusals of mail for an account at or after the time `since`, newest first.

    The account `servers_owner` also sees the refusals for addresses that no account owned. `after` is the `next` of the
    previous page; None for the first page.
    """
    found = tx.refusals_in(
        account,
        with_unowned=account == servers_owner,
        since=since,
        after=place_of_refusal(after),
        limit=limit,
    )
    return Refusals([refusal for _, refusal in found], cursor_of_refusal(*found[-1]) if len(found) == limit else None)


def cursor_of_refusal(number: int, refusal: ports.Refusal) -> str:
    """Return the cursor of the page that begins after a refusal."""
    return f"{round(refusal.at.timestamp() * 1000)}.{number}"


def place_of_refusal(cursor: str | None) -> tuple[datetime, int] | None:
    """Return the time and the number of the refusal in a cursor. Raises `errors.Invalid`."""
    if cursor is None:
        return None
    if not _CURSOR.fullmatch(cursor):
        raise errors.Invalid("`after` must be the `next` of the previous page of the same list.")
    at, _, number = cursor.partition(".")
    return messages.EPOCH + timedelta(milliseconds=int(at)), int(number)


_CURSOR = re.compile("[0-9]{1,14}[.][0-9]{1,18}")
