"""A transaction's queries for messages, their bytes, their deliveries and their traces."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from waypost.app import ports
from waypost.domain.mail import checksums
from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.messages import AFTER_ALL_IDS, Message
from waypost.domain.mail.planned import PlannedPart
from waypost.domain.mail.trace_events import TraceEvent
from waypost.store.common import rows
from waypost.store.common.transaction.queue import QueueQueries
from waypost.store.sql import kinds

PIECE = 256 * 1024
"""The maximum number of bytes of a message that are stored in one row."""


class MessageQueries(QueueQueries):
    """The part of `Transaction` that handles messages. The methods are documented in `app/ports/messages.py`."""

    def message(self, account: str, message_id: str) -> Message | None:
        row = self._one("message", message_id, account)
        return rows.message(row) if row else None

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        return [rows.delivery(row) for row in self._all("deliveries_of", message_id, account)]

    def recipients_of(self, message_id: str) -> list[str]:
        return [row[0] for row in self._all("recipients_of", message_id)]

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        newest = AFTER_ALL_IDS if after is None else after
        found = self._all("deliveries_at", account, address_key, newest, limit)
        return [rows.delivery_and_message(row) for row in found]

    def deliveries_to(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        newest = AFTER_ALL_IDS if after is None else after
        found = self._all("deliveries_to", account, address_key, newest, limit)
        return [rows.delivery_and_message(row) for row in found]

    def messages_with_header_id(self, account: str, header_id: str, *, limit: int) -> list[Message]:
        return [rows.message(row) for row in self._all("messages_with_header_id", account, header_id, limit)]

    def messages_between(self, first: str, last: str, *, limit: int) -> list[Message]:
        return [rows.message(row) for row in self._all("messages_between", first, last, limit)]

    def messages_begun(self, *, before: datetime, limit: int) -> list[str]:
        return [row[0] for row in self._all("messages_begun", kinds.to_milliseconds(before), limit)]

    def messages_planned(self, *, after: str, since: datetime, until: datetime, limit: int) -> list[str]:
        recent = (kinds.to_milliseconds(since), kinds.to_milliseconds(until))
        return [row[0] for row in self._all("messages_planned", after, *recent, limit)]

    def has_plan(self, message_id: str) -> bool:
        return bool(self._all("has_plan", message_id))

    def octets(self, message_id: str, *, start: int, limit: int) -> bytes:
        pieces = self._all("octets", message_id, start, start + limit)
        if not pieces:
            return b""
        for its_start, octets, checksum in pieces:
            if not checksums.fits(checksum, message_id, its_start, octets):
                raise ports.Damaged(message_id)
        skipped = start - pieces[0][0]
        return b"".join(octets for _, octets, _ in pieces)[skipped : skipped + limit]

    def trace(self, message_id: str) -> list[TraceEvent]:
        return rows.trace(self._all("trace", message_id))

    def add_octets(self, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
        if start == 0:
            self._run("begin_message", message_id, kinds.to_milliseconds(now))
        elif not self._all("still_begun", message_id):
            raise _gone(message_id, start)
        self._run_each("add_octets", _pieces(message_id, octets, start))

    def trim_octets(self, message_id: str, *, limit: int) -> int:
        return len(self._all("trim_octets", message_id, limit))

    def remove_octets(self, message_id: str) -> bool:
        begun = bool(self._all("end_message", message_id))
        if begun:
            self._run("remove_octets", message_id)
        return begun

    def add_message(
        self,
        message: Message,
        octets: bytes,
        deliveries: Sequence[Delivery],
        trace: Sequence[TraceEvent],
        *,
        warn_at: datetime | None = None,
    ) -> None:
        start = message.size - len(octets)
        if start and not self._all("end_message", message.id):
            raise _gone(message.id, start)
        self._run("add_message", *rows.of_message(message), rows.of_first_events(trace))
        self._run_each("add_octets", _pieces(message.id, octets, start))
        self.add_deliveries(deliveries, queued_at=message.received_at, warn_at=warn_at)

    def add_planned(self, message_id: str, parts: Sequence[PlannedPart]) -> None:
        planned = [(message_id, number, rows.of_planned_part(part)) for number, part in enumerate(parts)]
        self._run_each("add_planned", planned)

    def take_planned(self, message_id: str) -> PlannedPart | None:
        self._run("lock_message", message_id)
        row = self._one("take_planned", message_id)
        return rows.planned_part(row[0]) if row else None

    def add_deliveries(self, deliveries: Sequence[Delivery], *, queued_at: datetime, warn_at: datetime | None) -> None:
        self._run_each("add_delivery", [rows.of_delivery(delivery) for delivery in deliveries])
        queued = [delivery for delivery in deliveries if delivery.status is Status.QUEUED]
        if queued:
            self._add_to_queue(queued, now=queued_at, warn_at=warn_at)

    def delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        row = self._one("delivery", message_id, email_address_id)
        return rows.delivery(row) if row else None

    def lock_delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        row = self._one("lock_delivery", message_id, email_address_id)
        return rows.delivery(row) if row else None

    def lock_delivery_at(self, message_id: str, account: str, address_key: str) -> Delivery | None:
        row = self._one("lock_delivery_at", message_id, account, address_key)
        return rows.delivery(row) if row else None

    def add_delivery(self, delivery: Delivery) -> None:
        self._run("add_delivery", *rows.of_delivery(delivery))

    def update_delivery(self, delivery: Delivery, *, status: Status, kept: bool, destination: str) -> None:
        key = (delivery.message_id, delivery.email_address_id)
        self._run("update_delivery", *key, status.value, kept, destination)

    def add_events(self, message_id: str, events: Sequence[TraceEvent]) -> None:
        self._run("lock_message", message_id)
        self._run_each("add_next_trace_event", [rows.of_next_trace_event(message_id, event) for event in events])

    def remove_octets_if_spent(self, message_id: str) -> bool:
        self._run("lock_message", message_id)
        return bool(self._all("remove_spent_octets", self._list_of([message_id])))

    def lock_messages(self, message_ids: Collection[str]) -> None:
        self._run("lock_messages", self._list_of([*message_ids]))

    def update_statuses(self, deliveries: Sequence[Delivery], status: Status) -> None:
        ids = ([one.message_id for one in deliveries], [one.email_address_id for one in deliveries])
        self._run("update_statuses", status.value, *map(self._list_of, ids))

    def add_event_each(self, events: Sequence[tuple[str, TraceEvent]]) -> None:
        self._run_each("add_next_trace_event", [rows.of_next_trace_event(*event) for event in events])

    def remove_spent_octets(self, message_ids: Collection[str]) -> None:
        self._run("remove_spent_octets", self._list_of([*message_ids]))

    def count_bounces(self, delivery: Delivery) -> int:
        row = self._one("bounces_of", delivery.message_id, delivery.email_address_id)
        return int(row[0]) if row else 0

    def add_bounce(self, delivery: Delivery, *, says_failed: bool) -> int:
        row = self._one("add_bounce", delivery.message_id, delivery.email_address_id, int(says_failed))
        return int(row[0]) if row else 0

    def put_given_up(self, delivery: Delivery, *, at: datetime, because: str) -> None:
        key = (delivery.message_id, delivery.email_address_id)
        self._run("put_given_up", *key, kinds.to_milliseconds(at), because)


def _gone(message_id: str, octets: int) -> ports.StoreUnavailable:
    return ports.StoreUnavailable(f"the store no longer has the first {octets} bytes of message {message_id}")


def _pieces(message_id: str, octets: bytes, start: int) -> Iterable[rows.Row]:
    """Split bytes of a message into rows. Each row contains the offset of its first byte in the message, and the
    checksum of its bytes.

    `start` is the offset of the first byte in the first row.
    """
    view = memoryview(octets)
    return (
        (message_id, start + place, piece, checksums.of_piece(message_id, start + place, piece))
        for place in range(0, len(octets), PIECE)
        for piece in (view[place : place + PIECE],)
    )
