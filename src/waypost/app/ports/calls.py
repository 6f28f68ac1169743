"""Records of API calls that had a client token. The recorded responses prevent a retry from taking effect again."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from waypost.domain.directory.instances import Tenant


class CallKey(Struct, frozen=True):
    """The key of a call that has a client token. If two calls have equal keys, the second call is a retry.

    `scope` is the id of the instance that the call names, or an empty string if the call names no instance.
    """

    tenant: Tenant
    operation: str
    scope: str
    token: str


class RememberedCall(Struct, frozen=True):
    """The recorded response to a call that had a client token."""

    fingerprint: bytes
    answer: str
    made_at: datetime


class WriteCalls(Protocol):
    """Methods that record calls, and that ensure that calls with the same client token run one after the other."""

    def claim_call(self, key: CallKey) -> RememberedCall | None:
        """Lock a client token until the transaction ends, and return the recorded response.

        Return None if no response is recorded for the token. A recorded response is returned even if it has expired.
        """
        ...

    def remember_call(self, key: CallKey, call: RememberedCall) -> None:
        """Record the response to a call. An existing record with the same key is replaced."""
        ...

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        """Delete at most `limit` records of calls that were made before the given time, oldest first. Return the number
        of deleted records.
        """
        ...

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        """Find at most `limit` records whose time is later than `now`, and change their time to `now`. A record's time
        can be later than `now` if the clock was ahead when the record was made. Return the number of corrected records.
        """
        ...
