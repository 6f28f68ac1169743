"""A transaction's queries for lists of all mail of an account."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from waypost.app import ports
from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.messages import AFTER_ALL_IDS, Message
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds

_AFTER_ALL_NUMBERS = 2**62
"""A number that is greater than every time."""


class MailboxQueries(Statements):
    """The part of `Transaction` that lists mail. The methods are documented in `app/ports/mailbox.py`."""

    def mailbox(
        self, account: str, filters: MailFilter, *, after: ports.Place | None, oldest_id: str, limit: int
    ) -> list[ports.Place]:
        _, until = of_times(filters)
        of_page = (account, *(after or (AFTER_ALL_IDS, "")), oldest_id, until, limit)
        address, reason = filters.address_key, filters.reason
        match filters.status:
            case Status.DEAD:
                found = self._all("mailbox_dead", *of_page, address, reason)
            case Status.QUEUED:
                found = self._all("mailbox_waiting", *of_page, address, reason)
            case None if address and reason:
                found = self._all("mailbox_of_address_and_reason", *of_page, address, reason)
            case None if address:
                found = self._all("mailbox_of_address", *of_page, address)
            case None if reason:
                found = self._all("mailbox_of_reason", *of_page, reason)
            case None:
                found = self._all("mailbox", *of_page)
        return [(message_id, email_address_id) for message_id, email_address_id in found]

    def deliveries_in(self, places: Sequence[ports.Place]) -> list[tuple[Delivery, Message]]:
        return [rows.delivery_and_message(row) for row in self._in("deliveries_in", places)]

    def listed_in(self, places: Sequence[ports.Place]) -> list[ports.ListedMessage]:
        return _listed(self._in("listed_in", places))

    def listed(self, account: str, message_ids: Sequence[str], *, limit: int) -> list[ports.ListedMessage] | None:
        found = self._all("listed", account, self._list_of(message_ids), limit + 1) if message_ids else []
        return _listed(found) if len(found) <= limit else None

    def _in(self, query: str, places: Sequence[ports.Place]) -> list[rows.Row]:
        if not places:
            return []
        message_ids, email_address_ids = zip(*places, strict=True)
        return self._all(query, self._list_of(message_ids), self._list_of(email_address_ids))

    def accepted_since(self, since: datetime, *, first: str, last: str, limit: int) -> list[str]:
        found = self._all("accepted_since", first, last, kinds.to_milliseconds(since), limit)
        return [message_id for (message_id,) in found]

    def refusals_in(
        self, account: str, *, with_unowned: bool, since: datetime, after: tuple[datetime, int] | None, limit: int
    ) -> list[tuple[int, ports.Refusal]]:
        accounts = (account, "" if with_unowned else account)
        place = (_AFTER_ALL_NUMBERS, 0) if after is None else (kinds.to_milliseconds(after[0]), after[1])
        found = self._all("refusals_in", *accounts, *place, kinds.to_milliseconds(since), limit)
        return [(row[-1], rows.refusal(row)) for row in found]


def _listed(found: Sequence[rows.Row]) -> list[ports.ListedMessage]:
    return [rows.listed_message(list(some)) for _, some in groupby(found, key=itemgetter(0))]


def of_times(filters: MailFilter) -> tuple[int | None, int | None]:
    """Return the limits for the time at which a message was accepted, as query parameters."""
    since, before = (None if at is None else kinds.to_milliseconds(at) for at in (filters.since, filters.before))
    return since, before
