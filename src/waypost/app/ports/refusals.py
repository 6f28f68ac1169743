"""Records of refused mail, which help operators find out what happened to a message."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class Refusal(Struct, frozen=True, kw_only=True):
    """The record of a recipient or message that the server refused."""

    at: datetime
    peer: str
    helo: str
    sender: str
    recipient: str
    """The recipient as the client wrote it, or an empty string if the recipients of a refused message are unknown."""
    recipient_key: str
    """The address key of the recipient, or an empty string if the recipient is not a valid address."""
    stage: str
    """The stage of the refusal: `mail`, `rcpt` or `message`."""
    reply: str
    detail: Mapping[str, str | int]
    account: str = ""
    """The account that owned the recipient at the time of the refusal, or an empty string if no account owned it."""


class ReadRefusals(Protocol):
    """The method that reads refusals."""

    def refusals_of(
        self, recipient_key: str, *, account: str, with_unowned: bool, since: datetime, limit: int
    ) -> list[Refusal]:
        """Return up to `limit` refusals of mail for an address, newest first. Only refusals that happened at or after
        the time `since`, while the account owned the address, are returned. If `with_unowned` is true, refusals that
        happened while no account owned the address are returned too.
        """
        ...


class WriteRefusals(Protocol):
    """Methods that change refusals."""

    def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Store refusals."""
        ...

    def forget_refusals(self, *, before: datetime, limit: int) -> int:
        """Delete at most `limit` refusals that happened before the given time.

        The oldest refusals are deleted first. Return the number of deleted refusals.
        """
        ...
