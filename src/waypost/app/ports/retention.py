"""Methods that find and delete mail that exceeds the limits of the retention rules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.retention import Delivered, Inbox


class ReadRetention(Protocol):
    """Methods that find old mail."""

    def inboxes(self, *, after: Inbox | None, limit: int) -> list[Inbox]:
        """Return up to `limit` inboxes that contain mail, ordered by account and address, starting after the inbox
        `after`.
        """
        ...

    def delivered(self, inbox: Inbox, *, before: str, limit: int) -> list[Delivered]:
        """Return up to `limit` completed deliveries in an inbox, newest first.

        Only deliveries of messages with ids less than `before` are returned.
        """
        ...


class WriteRetention(Protocol):
    """Methods that delete old mail."""

    def remove_delivered(self, inbox: Inbox, message_ids: Sequence[str]) -> list[str]:
        """Delete the completed deliveries of these messages from an inbox. Queued deliveries and dead letters are not
        deleted.

        Return the ids of the messages whose deliveries were deleted.
        """
        ...

    def hold_messages(self, message_ids: Sequence[str]) -> None:
        """Lock messages until the transaction ends, so that no other transaction changes their deliveries."""
        ...

    def cancel_queued(self, deliveries: Sequence[Delivery]) -> None:
        """Remove deliveries from the queue, even if a worker has claimed them."""
        ...

    def remove_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Delete deliveries that are not queued. The caller has locked their messages."""
        ...

    def end_messages(self, message_ids: Sequence[str], *, now: datetime) -> list[str]:
        """Delete each of these messages that has neither deliveries nor planned deliveries. Return the ids of the
        deleted messages.

        The bytes of a deleted message stay in the store at first. They are deleted later, in the same way as the bytes
        of an incomplete message.
        """
        ...
