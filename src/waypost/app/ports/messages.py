"""Messages, their octets, their deliveries and their traces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.messages import Message


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a message's trace: when, what happened (a word from `app.trace`), and the details."""

    at: datetime
    kind: str
    detail: Mapping[str, str | int]


class ReadMessages(Protocol):
    """Messages and deliveries, as they are read."""

    def message(self, account: str, message_id: str) -> Message | None:
        """A message that was delivered to an email address of this account."""
        ...

    def messages_with_header_id(self, account: str, header_id: str, *, limit: int) -> list[Message]:
        """Messages with this Message-ID that were delivered to this account, newest first."""
        ...

    def messages_between(self, first: str, last: str, *, limit: int) -> list[Message]:
        """Messages with ids from `first` to `last`, whoever's they are."""
        ...

    def messages_begun(self, *, before: datetime, limit: int) -> list[str]:
        """Messages that began to come in before a moment and are none yet; the oldest first, `limit` at most."""
        ...

    def octets(self, message_id: str, *, start: int, limit: int) -> bytes:
        """Of the bytes of a message that exists, as sent after DATA: those from `start` on, `limit` at most."""
        ...

    def delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """A delivery, whoever's it is."""
        ...

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        """The deliveries of a message to this account; the direct ones first."""
        ...

    def all_deliveries_of(self, message_id: str) -> list[Delivery]:
        """The deliveries of a message, whoever's they are."""
        ...

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Newest first, those older than the message `after`, `limit` at most."""
        ...

    def deliveries_kept(
        self, account: str, *, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """What is in all inboxes of an account: newest first, those behind `after`, `limit` at most.

        `after` is the id of a message and that of an email address; an empty one is behind no other of the message.
        """
        ...

    def deliveries_to(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """As `deliveries_at`, also those that are not kept in the inbox, and those that were sent to it as an alias."""
        ...

    def trace(self, message_id: str) -> list[TraceEvent]:
        """What happened to a message, in order, whoever it concerns."""
        ...

    def events_about(self, message_id: str, kind: str, address: str, *, limit: int) -> list[TraceEvent]:
        """What happened of one kind for one address, the first `limit` times, in order."""
        ...


class WriteMessages(Protocol):
    """Changes to messages, deliveries and traces."""

    def add_octets(self, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
        """Bytes of a message that is still coming in, from place `start` on. They are nobody's until `add_message`.

        Raises `StoreUnavailable` if those before them are gone.
        """
        ...

    def trim_octets(self, message_id: str, *, limit: int) -> int:
        """Let go of some of what came of a message that will not become one; returns how many pieces that were."""
        ...

    def remove_octets(self, message_id: str) -> bool:
        """Let go of what came of a message that will not become one. False if nothing did, or it is one now."""
        ...

    def remove_octets_if_spent(self, message_id: str) -> bool:
        """Let go of the bytes of a message that nobody can need.

        No delivery of it is kept, queued or dead, and no notice about it is owed.
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

        Deliveries that are `queued` are in the queue, due at once. `warn_at`: when `take_late` gives them.

        Those before came by `add_octets`; raises `StoreUnavailable` if they are gone.
        """
        ...

    def add_delivery(self, delivery: Delivery) -> None:
        """One more delivery of a message that exists; what is `queued` is put into the queue by `enqueue`."""
        ...

    def lock_delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """A delivery, whoever's it is, held until the transaction ends."""
        ...

    def update_delivery(self, delivery: Delivery, *, status: Status, kept: bool, destination: str) -> None:
        """How far a delivery has come."""
        ...

    def add_events(self, message_id: str, events: Sequence[TraceEvent]) -> None:
        """The next lines of a message's trace, behind those that are there."""
        ...
