"""Mail that exceeds the retention rules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.retention import Delivered, Inbox


class ReadRetention(Protocol):
    """Finds old mail."""

    def inboxes(self, *, after: Inbox | None, limit: int) -> list[Inbox]:
        """Inboxes with mail, in the order of accounts and addresses, after `after`."""
        ...

    def delivered(self, inbox: Inbox, *, before: str, limit: int) -> list[Delivered]:
        """Deliveries of an inbox that wait for nothing, newest first, of messages with ids below `before`."""
        ...


class WriteRetention(Protocol):
    """Removes old mail."""

    def remove_delivered(self, inbox: Inbox, message_ids: Sequence[str]) -> list[str]:
        """Delete the deliveries of these messages from an inbox; queued and dead ones stay. Returns of which."""
        ...

    def end_messages(self, message_ids: Sequence[str], *, now: datetime) -> list[str]:
        """Delete those of these messages that have no delivery any more, except their bytes; returns which.

        Their bytes are deleted like those of incomplete messages.
        """
        ...
