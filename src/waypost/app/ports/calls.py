"""Calls that are made with a client token: what they were answered, so that the same call is done once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.directory.instances import Tenant


@dataclass(frozen=True, slots=True)
class CallKey:
    """What makes two calls with a client token the same call. `scope` is the instance id, or empty."""

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
    """Remembers calls, and has two calls with one token wait for each other."""

    def claim_call(self, key: CallKey) -> RememberedCall | None:
        """What a client token was answered, however long ago. The token is held, answered or not."""
        ...

    def remember_call(self, key: CallKey, call: RememberedCall) -> None:
        """Replaces what was remembered under this key, if anything."""
        ...

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        """Forget the oldest calls made before a moment, `limit` at most; returns how many."""
        ...

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        """Calls that were made after `now`, `limit` at most, were made at that moment; returns how many."""
        ...
