"""Calls with a client token and their responses, so that a repeated call is carried out once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.directory.instances import Tenant


@dataclass(frozen=True, slots=True)
class CallKey:
    """The key by which two calls with a client token are the same call. `scope` is the instance id, or empty."""

    tenant: Tenant
    operation: str
    scope: str
    token: str


@dataclass(frozen=True, slots=True)
class RememberedCall:
    """The outcome of a call that was made with a client token."""

    fingerprint: bytes
    answer: str
    made_at: datetime


class WriteCalls(Protocol):
    """Records calls, and makes two calls with one token wait for each other."""

    def claim_call(self, key: CallKey) -> RememberedCall | None:
        """The recorded response for a client token, however old. The token is locked, whether or not it has a
        response.
        """
        ...

    def remember_call(self, key: CallKey, call: RememberedCall) -> None:
        """It replaces an earlier record of this key."""
        ...

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        """Delete the oldest records before a moment, `limit` at most; returns how many."""
        ...

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        """Set the time of records that are later than `now`, `limit` at most, to `now`; returns how many."""
        ...
