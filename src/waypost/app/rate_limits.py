"""Rate limits whose state is kept in this process's memory, such as the limit on invalid signatures."""

from collections.abc import Hashable
from datetime import datetime

from waypost.domain.limits import networks, rates

MAX_BUCKETS = 10_000
"""The maximum number of buckets in memory. If there are more buckets, full buckets are dropped first, because a full
bucket limits nothing. The buckets that will be full soonest are dropped next.
"""

FAILURES = rates.Rate(per_second=1, burst=20)
"""The maximum rate of invalid signatures from one IPv4 address or IPv6 /64 network. Above this rate, responses are
delayed.
"""

LONGEST_DELAY = 5.0
"""The maximum number of seconds by which the response to a request with an invalid signature is delayed."""


class Buckets:
    """Token buckets, one for each key. A bucket is stored as the time at which it will be full again."""

    def __init__(self, rate: rates.Rate, *, patience: float = 0) -> None:
        self._rate = rate
        self._patience = patience
        self._full_at: dict[Hashable, float] = {}

    def take(self, key: Hashable, now: datetime) -> rates.Admission:
        """Consume one token from a key's bucket."""
        seconds = now.timestamp()
        admission = rates.admit(self._full_at.get(key, 0), seconds, self._rate, patience=self._patience)
        self._full_at[key] = admission.full_at
        if len(self._full_at) > MAX_BUCKETS:
            self._drop_some(seconds)
        return admission

    def wait(self, key: Hashable, now: datetime) -> float:
        """Return the number of seconds until a key's bucket is no longer overdrawn; 0 if it is not overdrawn.

        This method consumes no token.
        """
        full_at = self._full_at.get(key)
        if full_at is None:  # the common case
            return 0.0
        over = full_at - now.timestamp() - self._rate.burst / self._rate.per_second
        return min(max(0.0, over), self._patience)  # a longer wait means that the clock was set back

    def _drop_some(self, now: float) -> None:
        waiting = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        newest = sorted(waiting, key=waiting.__getitem__)[-MAX_BUCKETS // 2 :]
        self._full_at = {key: waiting[key] for key in newest}


class FailedSignatures:
    """Delays the responses to clients that repeatedly send invalid signatures. Requests with valid signatures are never
    delayed.
    """

    def __init__(self) -> None:
        self._buckets = Buckets(FAILURES, patience=LONGEST_DELAY)

    def delay(self, source: str, now: datetime) -> float:
        """Count an invalid signature from an IP address. Returns the response's delay in seconds."""
        return min(self._buckets.take(networks.of(source).host, now).wait, LONGEST_DELAY)
