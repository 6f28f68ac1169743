"""A transaction's queries for lists of all mail of an account."""

from datetime import datetime

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
        self, account: str, filters: MailFilter, *, after: tuple[str, str] | None, oldest_id: str, limit: int
    ) -> list[tuple[Delivery, Message]]:
        place = (*(after or (AFTER_ALL_IDS, "")), oldest_id)
        matched = (filters.reason, *of_times(filters))
        if filters.address_key:
            found = self._all(
                "mailbox_of_address", account, *place, *matched, limit, filters.address_key, filters.status
            )
        elif filters.status is Status.DEAD:
            found = self._all("mailbox_dead", account, *place, *matched, limit)
        elif filters.status is Status.QUEUED:
            found = self._all("mailbox_waiting", account, *place, *matched, limit)
        else:
            found = self._all("mailbox", account, *place, *matched, limit)
        return [rows.delivery_and_message(row) for row in found]

    def refusals_in(
        self, account: str, *, with_unowned: bool, since: datetime, after: tuple[datetime, int] | None, limit: int
    ) -> list[tuple[int, ports.Refusal]]:
        accounts = (account, "" if with_unowned else account)
        place = (_AFTER_ALL_NUMBERS, 0) if after is None else (kinds.to_milliseconds(after[0]), after[1])
        found = self._all("refusals_in", *accounts, *place, kinds.to_milliseconds(since), limit)
        return [(row[-1], rows.refusal(row)) for row in found]


def of_times(filters: MailFilter) -> tuple[int | None, int | None]:
    """Return the limits for the time at which a message was accepted, as query parameters."""
    since, before = (None if at is None else kinds.to_milliseconds(at) for at in (filters.since, filters.before))
    return since, before
