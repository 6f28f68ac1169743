"""Due notices to senders and owners: the store has recorded that they are due, but no worker has written them yet."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

OWNER_OF_LOOP = "loop"
"""The value of `action` for a notice that informs the owner of an email address about a mail loop."""


class Owing(Struct, frozen=True):
    """The message and the action that one notice is about."""

    message_id: str
    action: str
    """An `Action` from `domain.notices`, or `OWNER_OF_LOOP`."""


class Owed(Struct, frozen=True, kw_only=True):
    """The part of a due notice that concerns one recipient."""

    message_id: str
    action: str
    recipient: str
    """The recipient as the sender wrote it, or an empty string for `OWNER_OF_LOOP`."""
    email_address_id: str
    """The id of the email address whose delivery the notice reports on."""
    at: datetime
    fate: Mapping[str, str | int]
    """The outcome of the delivery, in the format that `app.mail.notify` defines."""


class ReadNotices(Protocol):
    """The method that finds the next notice to write."""

    def owed(self, *, now: datetime, soon: datetime, owed_before: datetime) -> Owing | None:
        """Return the next notice to write at the time `now`, or None if no notice can be written yet.

        A notice about a message waits while a worker attempts a delivery of that message, or while such a delivery is
        due by `soon`. Because of this wait, one notice can report on more recipients. A notice that was recorded at
        `owed_before` or earlier does not wait.
        """
        ...


class WriteNotices(Protocol):
    """Methods that change due notices."""

    def owe(self, owed: Sequence[Owed]) -> None:
        """Record notices that are due. If a notice is already recorded, its time stays the same, and its outcome is
        replaced.
        """
        ...

    def take_owed(self, owing: Owing, *, limit: int) -> list[Owed]:
        """Remove up to `limit` recipients from one due notice, and return these recipients in alphabetical order.

        The notice is no longer due for these recipients.
        """
        ...

    def drop_owed(self, owing: Owing, *, limit: int) -> int:
        """Delete the records that `take_owed` would return for a due notice. Return the number of deleted records."""
        ...
