"""Refused mail, for people who look for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refusal of mail, for the trace."""

    at: datetime
    peer: str
    helo: str
    sender: str
    recipient: str
    """As the client wrote it; empty if a message was refused as a whole and the recipients are unknown."""
    recipient_key: str
    """The key by which addresses are compared; empty if it is not an address."""
    stage: str
    """mail, rcpt, or message."""
    reply: str
    detail: Mapping[str, str | int]
    account: str = ""
    """The account that owned the recipient at that time; empty if none did."""


class ReadRefusals(Protocol):
    """Reads refusals."""

    def refusals_of(
        self, recipient_key: str, *, account: str, and_nobodys: bool, since: datetime, limit: int
    ) -> list[Refusal]:
        """Refusals of mail for an address from the time when an account owned it, newest first.

        `and_nobodys`: also refusals from times when no account owned the address.
        """
        ...


class WriteRefusals(Protocol):
    """Changes to refusals."""

    def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Store refusals."""
        ...

    def forget_refusals(self, *, before: datetime, limit: int) -> int:
        """Delete the oldest refusals before a moment, `limit` at most; returns how many."""
        ...
