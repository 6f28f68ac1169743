"""Notices that are owed to senders and owners, until they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

OWNER_OF_LOOP = "loop"
"""In place of an `Action`: the owner of an email address is to be told of a loop."""


@dataclass(frozen=True, slots=True)
class Owing:
    """What one notice is to tell of: a message, and what became of it."""

    message_id: str
    action: str
    """An `Action` of `domain.notices`, or `OWNER_OF_LOOP`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What a notice is to tell of one recipient."""

    message_id: str
    action: str
    recipient: str
    """As the sender wrote it; empty for `OWNER_OF_LOOP`."""
    email_address_id: str
    """Whose delivery it is about."""
    at: datetime
    fate: Mapping[str, str | int]
    """What became of the delivery, in the words of `app.notify`."""


class ReadNotices(Protocol):
    """The next notice, as it is read."""

    def owed(self, *, now: datetime, soon: datetime, owed_before: datetime) -> Owing | None:
        """The next notice to write; None if there is none now.

        One waits while a delivery of its message is being attempted, or is due by `soon`, unless it is owed since
        before `owed_before`. So one notice tells of all recipients of which it can.
        """
        ...


class WriteNotices(Protocol):
    """Changes to what is owed."""

    def owe(self, owed: Sequence[Owed]) -> None:
        """Write down notices that are owed. One that is owed already keeps its age, and gets the new fate."""
        ...

    def take_owed(self, owing: Owing, *, limit: int) -> list[Owed]:
        """Some of what one notice tells of, in the order of the recipients. It is owed no more."""
        ...

    def drop_owed(self, owing: Owing, *, limit: int) -> int:
        """Delete what `take_owed` would give, without reading it. Returns for how many recipients."""
        ...
