"""Mail that is older, or more, than is kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.retention import Delivered, Inbox


class ReadRetention(Protocol):
    """Old mail, as it is found."""

    def inboxes(self, *, after: Inbox | None, limit: int) -> list[Inbox]:
        """Where there is mail, in the order of accounts and addresses, behind `after`."""
        ...

    def delivered(self, inbox: Inbox, *, before: str, limit: int) -> list[Delivered]:
        """Deliveries of an inbox that wait for nothing, newest first, of messages with ids below `before`."""
        ...


class WriteRetention(Protocol):
    """Removes old mail."""

    def remove_delivered(self, inbox: Inbox, message_ids: Sequence[str]) -> list[str]:
        """Let go of deliveries of an inbox, of these messages; those that are queued or dead stay. Returns of which."""
        ...

    def end_messages(self, message_ids: Sequence[str], *, now: datetime) -> list[str]:
        """Let go of those of these messages that have no delivery any more, but for their bytes, and tell which.

        Their bytes go like those of messages that never came to their end.
        """
        ...
