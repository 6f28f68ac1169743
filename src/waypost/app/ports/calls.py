"""API calls with a client token, and their responses. The store keeps them so that a retry is not executed again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.directory.instances import Tenant


@dataclass(frozen=True, slots=True)
class CallKey:
    """The key that identifies a call with a client token. Calls with equal keys are the same call, sent again.

    `scope` is the instance id; it is empty for an operation that names no instance.
    """

    tenant: Tenant
    operation: str
    scope: str
    token: str


@dataclass(frozen=True, slots=True)
class RememberedCall:
    """The recorded response to a call that had a client token."""

    fingerprint: bytes
    answer: str
    made_at: datetime


class WriteCalls(Protocol):
    """Methods that record calls. They serialize calls that have the same client token."""

    def claim_call(self, key: CallKey) -> RememberedCall | None:
        """Lock a client token until the transaction ends, and return the recorded response.

        Return None if no response is recorded for the token. The age of a response does not matter.
        """
        ...

    def remember_call(self, key: CallKey, call: RememberedCall) -> None:
        """Record the response to a call. A record with the same key is replaced."""
        ...

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        """Delete at most `limit` records made before the given time, oldest first. Return the number deleted."""
        ...

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        """Set the time of records that lies in the future to `now`, for at most `limit` records.

        Return the number of corrected records. A clock that was ahead can cause such times.
        """
        ...
