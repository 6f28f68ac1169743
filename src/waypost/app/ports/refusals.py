"""Mail that was refused, for whoever asks where it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Mail that was refused, so that somebody who asks for it can be told."""

    at: datetime
    peer: str
    helo: str
    sender: str
    recipient: str
    """As the client wrote it; empty where a message was refused as a whole and nobody knows for whom."""
    recipient_key: str
    """By which addresses are compared; empty if it is no address."""
    stage: str
    """mail, rcpt, or message."""
    reply: str
    detail: Mapping[str, str | int]
    account: str = ""
    """The account that owned the recipient when this happened; empty if nobody did."""


class ReadRefusals(Protocol):
    """Refusals, as they are read."""

    def refusals_of(
        self, recipient_key: str, *, account: str, and_nobodys: bool, since: datetime, limit: int
    ) -> list[Refusal]:
        """Mail for an address that was refused while an account owned it, newest first.

        `and_nobodys`: also what was refused while nobody owned the address.
        """
        ...


class WriteRefusals(Protocol):
    """Changes to refusals."""

    def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Keep some refusals, for a while."""
        ...

    def forget_refusals(self, *, before: datetime, limit: int) -> int:
        """Forget the oldest refusals of before a moment, `limit` at most; returns how many."""
        ...
