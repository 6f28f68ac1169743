"""Messages, their octets, their deliveries and their traces."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.trace_events import TraceEvent


class ReadMessages(Protocol):
    """Reads messages and deliveries."""

    def message(self, account: str, message_id: str) -> Message | None:
        """A message that was delivered to an email address of this account."""
        ...

    def messages_with_header_id(self, account: str, header_id: str, *, limit: int) -> list[Message]:
        """Messages with this Message-ID that were delivered to this account, newest first."""
        ...

    def messages_between(self, first: str, last: str, *, limit: int) -> list[Message]:
        """Messages with ids from `first` to `last`, of any account."""
        ...

    def messages_begun(self, *, before: datetime, limit: int) -> list[str]:
        """Incomplete messages whose transfer began before a moment; the oldest first, `limit` at most."""
        ...

    def octets(self, message_id: str, *, start: int, limit: int) -> bytes:
        """Of the bytes of a message that exists, as sent after DATA: those from `start` on, `limit` at most."""
        ...

    def delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """A delivery, of any account."""
        ...

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        """The deliveries of a message to this account; the direct ones first."""
        ...

    def all_deliveries_of(self, message_id: str) -> list[Delivery]:
        """The deliveries of a message, of any account."""
        ...

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Newest first, those older than the message `after`, `limit` at most."""
        ...

    def deliveries_kept(
        self, account: str, *, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """The deliveries in all inboxes of an account: newest first, those after `after`, `limit` at most.

        `after` is the id of a message and that of an email address; an empty second id stands before all of the
        message.
        """
        ...

    def deliveries_to(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """As `deliveries_at`, with deliveries that the inbox does not keep, and those that were sent to it as an
        alias.
        """
        ...

    def trace(self, message_id: str) -> list[TraceEvent]:
        """The trace of a message, in order, for all accounts."""
        ...

    def count_bounces(self, delivery: Delivery) -> int:
        """How many bounces were taken for a delivery."""
        ...


class WriteMessages(Protocol):
    """Changes to messages, deliveries and traces."""

    def add_octets(self, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
        """Store bytes of a message during its transfer, from place `start` on. They belong to no account until
        `add_message`.

        Raises `StoreUnavailable` if those before them are gone.
        """
        ...

    def trim_octets(self, message_id: str, *, limit: int) -> int:
        """Delete some pieces of an incomplete message; returns how many."""
        ...

    def remove_octets(self, message_id: str) -> bool:
        """Delete all pieces of an incomplete message. False if there are none, or it is a complete message now."""
        ...

    def remove_octets_if_spent(self, message_id: str) -> bool:
        """Delete the bytes of a message if nothing needs them.

        That is so if no delivery of it is kept, queued or dead, and no notice about it is due.
        """
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
        """A new message, the last of its bytes, its deliveries, and the first lines of its trace.

        Deliveries that are `queued` are in the queue, due at once. `warn_at`: the moment from which `take_late` returns
        them.

        Earlier bytes were stored by `add_octets`; raises `StoreUnavailable` if they are gone.
        """
        ...

    def add_delivery(self, delivery: Delivery) -> None:
        """One more delivery of a message that exists; what is `queued` is put into the queue by `enqueue`."""
        ...

    def add_bounce(self, delivery: Delivery, *, says_failed: bool) -> int:
        """Count a bounce that was taken for a delivery. Returns how many by now say that the message failed."""
        ...

    def put_given_up(self, delivery: Delivery, *, at: datetime, because: str) -> None:
        """When and why the attempts of a delivery ended, for `dead_letters`."""
        ...

    def lock_delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """A delivery, of any account, locked until the transaction ends."""
        ...

    def update_delivery(self, delivery: Delivery, *, status: Status, kept: bool, destination: str) -> None:
        """Set the status of a delivery."""
        ...

    def add_events(self, message_id: str, events: Sequence[TraceEvent]) -> None:
        """Append lines to a message's trace."""
        ...
