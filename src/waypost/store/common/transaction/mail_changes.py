"""A transaction's queries for what the background job notes about mail."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from waypost.app import ports
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.messages import Message
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds

_MINUTE, _HOUR = 60_000, 3_600_000


class MailChangeQueries(Statements):
    """The part of `Transaction` for the notes about mail. The methods are documented in `app/ports/mail_changes.py`."""

    def mail_mark(self, place: str) -> ports.MailMark:
        row = self._one("mail_mark", place)
        if row is None:
            return ports.MailMark("", None)
        return ports.MailMark(row[0], None if row[1] is None else kinds.from_milliseconds(row[1]))

    def not_noted(self, *, after: str, until: str, limit: int) -> list[ports.NotNoted]:
        found = self._all("not_noted", after, until, limit)
        return [ports.NotNoted(message_id, kinds.from_milliseconds(at)) for message_id, at in found]

    def id_beyond(self, after: str, *, count: int) -> str:
        row = self._one("id_beyond", after, count - 1)
        return str(row[0]) if row else ""

    def deliveries_noted(self, message_ids: Sequence[str]) -> list[ports.NotedDelivery]:
        return [ports.NotedDelivery(*row) for row in self._all("deliveries_noted", self._list_of(message_ids))]

    def ways(self, message_ids: Sequence[str]) -> list[ports.Way]:
        return [ports.Way(*row) for row in self._all("ways", self._list_of(message_ids))] if message_ids else []

    def events_not_noted(self, *, since: datetime, limit: int) -> list[ports.Event]:
        found = self._all("events_not_noted", kinds.to_milliseconds(since), limit)
        return [ports.Event(row[0], row[1], rows.trace_event(row[2:])) for row in found]

    def changes(self, account: str, *, after: int, limit: int) -> list[ports.Change]:
        found = self._all("changes", account, after, limit)
        return [ports.Change(row[0], row[1], row[2], row[3], kinds.from_milliseconds(row[4])) for row in found]

    def last_change(self, account: str) -> int:
        ((number,),) = self._all("last_change", account)
        return number or 0

    def change_bounds(self) -> tuple[int, int]:
        ((first, last),) = self._all("change_bounds")
        return first or 0, last or 0

    def deliveries_listed(self, account: str, message_ids: Sequence[str]) -> list[tuple[Delivery, Message]]:
        found = self._all("deliveries_listed", account, self._list_of(message_ids))
        return [rows.delivery_and_message(row) for row in found]

    def mail_counts(self, account: str, *, since: datetime) -> list[ports.Count]:
        found = self._all("mail_counts", account, kinds.to_milliseconds(since) // _MINUTE)
        return [ports.Count(*row) for row in found]

    def refusal_counts(self, account: str, *, with_unowned: bool, since: datetime) -> Mapping[int, int]:
        accounts = (account, "" if with_unowned else account)
        return {row[0]: row[1] for row in self._all("refusal_counts", *accounts, kinds.to_milliseconds(since))}

    def mail_flows(self, account: str, *, since: datetime, limit: int) -> list[ports.Flow]:
        found = self._all("mail_flows", account, kinds.to_milliseconds(since) // _HOUR, limit)
        return [ports.Flow(*row) for row in found]

    def destination_counts(self, account: str, *, since: datetime, limit: int) -> list[tuple[str, int, int]]:
        found = self._all("destination_counts", account, kinds.to_milliseconds(since) // _HOUR, limit)
        return [(destination, hour, count) for destination, hour, count in found]

    def put_mail_mark(self, place: str, mark: ports.MailMark) -> None:
        self._run("put_mail_mark", place, mark.message_id, mark.at and kinds.to_milliseconds(mark.at))

    def note_messages(self, message_ids: Sequence[str]) -> list[tuple[str, str]]:
        if not message_ids:
            return []
        listed = self._list_of(sorted(message_ids))
        self._run("keep_messages", listed)
        return [(message_id, account) for message_id, account in self._all("add_mail_entries", listed)]

    def add_changes_of_new(self, message_ids: Sequence[str], *, since: datetime) -> None:
        if message_ids:
            self._run("add_changes_of_new", self._list_of(message_ids), kinds.to_milliseconds(since))

    def add_changes(self, changes: Sequence[ports.NewChange]) -> list[ports.NewChange]:
        if not changes:
            return []
        listed = [
            (one.account, one.message_id, one.email_address_id, one.kind, kinds.to_milliseconds(one.at), one.event)
            for one in changes
        ]
        added = {tuple(row) for row in self._all("add_changes", kinds.to_json(listed))}
        return [one for one in changes if (one.message_id, one.account, one.event) in added]

    def add_mail_counts(self, account: str, counts: Sequence[ports.Count]) -> None:
        self._run_each("add_mail_count", [(account, one.minute, one.kind, one.count) for one in counts])

    def add_mail_flows(self, account: str, *, hour: int, flows: Sequence[ports.Flow]) -> None:
        found = [(account, hour, one.address, one.alias, one.destination, one.count) for one in flows]
        self._run_each("add_mail_flow", found)

    def prune_changes(self, *, kept: int, limit: int) -> int:
        return len(self._all("prune_changes", kept, limit))

    def forget_counts(self, *, before: datetime, limit: int) -> int:
        at = kinds.to_milliseconds(before)
        removed = self._all("forget_mail_counts", at // _MINUTE, limit)
        return len(removed) + len(self._all("forget_mail_flows", at // _HOUR, limit))
