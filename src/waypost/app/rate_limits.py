"""Rate limits on clients, such as the limit on invalid signatures. Their state is in memory, not in the store."""

from collections.abc import Hashable
from datetime import datetime

from waypost.app import ports
from waypost.domain.limits import networks, rates

FAILURES = rates.Rate(per_second=1, burst=20)
"""The maximum rate of invalid signatures from one IPv4 address or IPv6 /64 network. Above this rate, responses are
delayed.
"""

LONGEST_DELAY = 5.0
"""The maximum number of seconds by which the response to a request with an invalid signature is delayed."""


class Buckets:
    """Token buckets, one for each key. A bucket is stored as the time at which it will be full again."""

    def __init__(self, rate: rates.Rate, full_at: ports.Times, *, patience: float = 0) -> None:
        """`full_at` is the table that stores the buckets. The table may drop full buckets, because they limit
        nothing.
        """
        self._rate = rate
        self._patience = patience
        self._full_at = full_at

    def take(self, key: Hashable, now: datetime) -> rates.Admission:
        """Consume one token from a key's bucket."""
        seconds = now.timestamp()
        with self._full_at.locked():
            admission = rates.admit(self._full_at.get(key), seconds, self._rate, patience=self._patience)
            self._full_at.put(key, admission.full_at, now=seconds)
        return admission

    def wait(self, key: Hashable, now: datetime) -> float:
        """Return the number of seconds until a key's bucket is no longer overdrawn; 0 if it is not overdrawn.

        This method consumes no token.
        """
        full_at = self._full_at.get(key)
        if not full_at:  # the common case
            return 0.0
        over = full_at - now.timestamp() - self._rate.burst / self._rate.per_second
        return min(max(0.0, over), self._patience)  # a longer wait means that the clock was set back


class FailedSignatures:
    """Delays the responses to clients that repeatedly send invalid signatures. Requests with valid signatures are never
    delayed.
    """

    def __init__(self, state: ports.LimitState) -> None:
        self._buckets = Buckets(FAILURES, state.times("invalid signatures"), patience=LONGEST_DELAY)

    def delay(self, source: str, now: datetime) -> float:
        """Count an invalid signature from an IP address. Returns the response's delay in seconds."""
        return min(self._buckets.take(networks.of(source).host, now).wait, LONGEST_DELAY)
