"""A transaction's queries that find and delete old mail."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.retention import Delivered, Inbox
from waypost.store.common.transaction.mail_index import MailIndexQueries
from waypost.store.sql import kinds


class RetentionQueries(MailIndexQueries):
    """The part of `Transaction` that handles retention. The methods are documented in `app/ports/retention.py`."""

    def inboxes(self, *, after: Inbox | None, limit: int) -> list[Inbox]:
        after = after or Inbox("", "")
        return [Inbox(*row) for row in self._all("inboxes", after.account, after.address_key, limit)]

    def delivered(self, inbox: Inbox, *, before: str, limit: int) -> list[Delivered]:
        found = self._all("delivered", inbox.account, inbox.address_key, before, limit)
        return [Delivered(row[0], kinds.from_milliseconds(row[1]), row[2], bool(row[3])) for row in found]

    def remove_delivered(self, inbox: Inbox, message_ids: Sequence[str]) -> list[str]:
        given = self._list_of(message_ids)
        # Two transactions may each remove one of the last two deliveries of a message at the same time. The lock
        # ensures that the second transaction sees that no delivery is left.
        self._run("hold_messages", given)
        return sorted({row[0] for row in self._all("remove_delivered", given, inbox.account, inbox.address_key)})

    def hold_messages(self, message_ids: Sequence[str]) -> None:
        self._run("hold_messages", self._list_of(message_ids))

    def cancel_queued(self, deliveries: Sequence[Delivery]) -> None:
        self._run("cancel_queued", *self._ids(deliveries))

    def remove_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self._run("remove_deliveries", *self._ids(deliveries))

    def _ids(self, deliveries: Sequence[Delivery]) -> tuple[Any, Any]:
        ids = ([one.message_id for one in deliveries], [one.email_address_id for one in deliveries])
        return self._list_of(ids[0]), self._list_of(ids[1])

    def end_messages(self, message_ids: Sequence[str], *, now: datetime) -> list[str]:
        given = self._list_of(message_ids)
        self.remove_from_index(message_ids)
        self._run("remove_traces_without_delivery", given)
        ended = sorted(row[0] for row in self._all("remove_messages_without_delivery", given))
        self._run_each("begin_message", [(message_id, kinds.to_milliseconds(now)) for message_id in ended])
        return ended
