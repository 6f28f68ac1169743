"""Notices that are due to senders and owners, until they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

OWNER_OF_LOOP = "loop"
"""In place of an `Action`: a notice to the owner of an email address about a mail loop."""


@dataclass(frozen=True, slots=True)
class Owing:
    """The subject of one notice: a message, and an action."""

    message_id: str
    action: str
    """An `Action` of `domain.notices`, or `OWNER_OF_LOOP`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """The contents of a notice for one recipient."""

    message_id: str
    action: str
    recipient: str
    """As the sender wrote it; empty for `OWNER_OF_LOOP`."""
    email_address_id: str
    """The email address whose delivery it is about."""
    at: datetime
    fate: Mapping[str, str | int]
    """The fate of the delivery, in the form of `app.mail.notify`."""


class ReadNotices(Protocol):
    """Reads the next notice."""

    def owed(self, *, now: datetime, soon: datetime, owed_before: datetime) -> Owing | None:
        """The next notice to write; None if there is none now.

        A notice waits while a delivery of its message is attempted, or is due by `soon`, unless it is due since before
        `owed_before`. So one notice reports as many recipients as possible.
        """
        ...


class WriteNotices(Protocol):
    """Changes to due notices."""

    def owe(self, owed: Sequence[Owed]) -> None:
        """Record notices that are due. A notice that is already due keeps its age, and gets the new fate."""
        ...

    def take_owed(self, owing: Owing, *, limit: int) -> list[Owed]:
        """Take some recipients of one notice, in the order of the recipients. Their notice is no longer due."""
        ...

    def drop_owed(self, owing: Owing, *, limit: int) -> int:
        """Delete what `take_owed` would return, without reading it. Returns for how many recipients."""
        ...
