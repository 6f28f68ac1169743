"""Messages, their bytes, their deliveries and their traces."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.planned import PlannedPart
from waypost.domain.mail.trace_events import TraceEvent


class ReadMessages(Protocol):
    """Methods that read messages, deliveries and traces."""

    def message(self, account: str, message_id: str) -> Message | None:
        """Return a message, or None if the message has no delivery to an email address of this account."""
        ...

    def messages_with_header_id(self, account: str, header_id: str, *, limit: int) -> list[Message]:
        """Return up to `limit` messages with this Message-ID that have a delivery to this account, newest first."""
        ...

    def messages_between(self, first: str, last: str, *, limit: int) -> list[Message]:
        """Return up to `limit` messages of any account, with ids from `first` to `last` (inclusive)."""
        ...

    def messages_begun(self, *, before: datetime, limit: int) -> list[str]:
        """Return the ids of up to `limit` incomplete messages whose transfer began before the time `before`, oldest
        first.
        """
        ...

    def messages_planned(self, *, after: str, since: datetime, until: datetime, limit: int) -> list[str]:
        """Return the ids of up to `limit` messages that have planned deliveries, sorted by id, starting after the id
        `after`.

        Messages that were accepted later than `since`, but no later than `until`, are left out.
        """
        ...

    def has_plan(self, message_id: str) -> bool:
        """Return whether a message has planned deliveries."""
        ...

    def octets(self, message_id: str, *, start: int, limit: int) -> bytes:
        """Return up to `limit` bytes of an existing message, starting at offset `start`.

        The bytes of a message are the bytes that the client sent after DATA. Raises `Damaged` if a stored piece that
        has some of them is not as it was stored.
        """
        ...

    def delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """Return a delivery of any account, or None if there is no such delivery."""
        ...

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        """Return the deliveries of a message to this account: the direct deliveries first, and then the forwarded
        deliveries.
        """
        ...

    def recipients_of(self, message_id: str) -> list[str]:
        """Return the ids of all email addresses, in any account, that have a delivery of this message."""
        ...

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Return up to `limit` deliveries in an address's inbox, each with its message, newest first.

        `after` is the id of the last message on the previous page. If `after` is None, the list starts at the newest
        delivery.
        """
        ...

    def deliveries_to(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Return the same deliveries as `deliveries_at`, and also the deliveries to the address that are not in its
        inbox.

        Every message to an alias has a delivery for the alias itself. Therefore, if `address_key` is the key of an
        alias, this method finds the messages that were sent to the alias.
        """
        ...

    def trace(self, message_id: str) -> list[TraceEvent]:
        """Return all events of a message's trace, for all accounts, in chronological order."""
        ...

    def count_bounces(self, delivery: Delivery) -> int:
        """Return the number of bounces that the server has accepted for a delivery."""
        ...


class WriteMessages(Protocol):
    """Methods that change messages, deliveries and traces."""

    def add_octets(self, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
        """Store some bytes of a message that is still being transferred. `start` is the offset of the first of these
        bytes in the message.

        The bytes belong to no account until `add_message` completes the message. Raises `StoreUnavailable` if the
        earlier bytes of the message have been deleted.
        """
        ...

    def trim_octets(self, message_id: str, *, limit: int) -> int:
        """Delete at most `limit` pieces of an incomplete message. Return the number of deleted pieces."""
        ...

    def remove_octets(self, message_id: str) -> bool:
        """Delete all pieces of an incomplete message.

        Return False if the message does not exist or is already complete.
        """
        ...

    def remove_octets_if_spent(self, message_id: str) -> bool:
        """Delete the bytes of a message if they are no longer needed. Return whether bytes were deleted.

        The bytes are needed while a delivery of the message is in an inbox, is planned, is queued, or is a dead letter.
        The bytes are also needed while a notice about the message is due.
        """
        ...

    def remove_spent_octets(self, message_ids: Collection[str]) -> None:
        """Delete the bytes of those messages whose bytes are no longer needed, like `remove_octets_if_spent`.

        The caller has locked the messages with `lock_messages`.
        """
        ...

    def lock_messages(self, message_ids: Collection[str]) -> None:
        """Lock messages until the transaction ends, so that transactions that change them run one after the other."""
        ...

    def add_message(
        self,
        message: Message,
        octets: bytes,
        deliveries: Sequence[Delivery],
        trace: Sequence[TraceEvent],
        *,
        warn_at: datetime | None = None,
    ) -> None:
        """Store a complete message: its envelope, its last bytes, its deliveries, and the first events of its trace.

        A delivery with the status `queued` is put into the queue and is due immediately. After the time `warn_at`,
        `take_late` returns those deliveries that are still queued.

        If the message arrived in several pieces, `octets` is the last piece, and `add_octets` must already have stored
        the earlier pieces. Raises `StoreUnavailable` if the earlier pieces have been deleted.
        """
        ...

    def add_planned(self, message_id: str, parts: Sequence[PlannedPart]) -> None:
        """Store the planned deliveries of a new message in parts. Later transactions turn each part into deliveries."""
        ...

    def take_planned(self, message_id: str) -> PlannedPart | None:
        """Delete and return the next part of the planned deliveries of a message, or return None if no part is left.

        This method locks the message until the transaction ends.
        """
        ...

    def add_deliveries(self, deliveries: Sequence[Delivery], *, queued_at: datetime, warn_at: datetime | None) -> None:
        """Store deliveries of an existing message. Deliveries with the status `queued` are also put into the queue.

        The queued deliveries are due at `queued_at`. `warn_at` has the same meaning as in `add_message`.
        """
        ...

    def add_delivery(self, delivery: Delivery) -> None:
        """Store another delivery of an existing message. This method does not queue the delivery; `enqueue` does."""
        ...

    def add_bounce(self, delivery: Delivery, *, says_failed: bool) -> int:
        """Count a bounce that the server has accepted for a delivery.

        `says_failed` is true if the bounce reports that the delivery failed.

        Return the number of bounces for this delivery that report a failure, including this bounce.
        """
        ...

    def put_given_up(self, delivery: Delivery, *, at: datetime, because: str) -> None:
        """Store when and why a delivery became a dead letter. `dead_letters` returns the time and the reason."""
        ...

    def lock_delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """Lock a delivery of any account until the transaction ends. Return it, or None if it does not exist."""
        ...

    def lock_delivery_at(self, message_id: str, account: str, address_key: str) -> Delivery | None:
        """Lock the delivery of a message to an address of an account, and return it, or None if there is none.

        The delivery may belong to an email address that had the same address and was deleted.
        """
        ...

    def update_delivery(self, delivery: Delivery, *, status: Status, kept: bool, destination: str) -> None:
        """Set the status and the destination of a delivery, and whether the inbox keeps it."""
        ...

    def update_statuses(self, deliveries: Sequence[Delivery], status: Status) -> None:
        """Set the status of several deliveries."""
        ...

    def add_event_each(self, events: Sequence[tuple[str, TraceEvent]]) -> None:
        """Append events to the traces of several messages, each given with the id of its message.

        The caller has locked the messages with `lock_messages`.
        """
        ...

    def add_events(self, message_id: str, events: Sequence[TraceEvent]) -> None:
        """Append events to the trace of a message."""
        ...
