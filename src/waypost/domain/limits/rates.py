"""The limit profiles for API calls and email addresses, and the rate-limiting algorithm.

The algorithm is the generic cell rate algorithm (ITU-T I.371, annex A). The algorithm works like a token bucket, but
stores only one number for each bucket: the time at which the bucket will be full again.
"""

from typing import NamedTuple

from msgspec import Struct


class Rate(Struct, frozen=True):
    """A rate limit: the average number of calls that are allowed per second, and the number of calls that are allowed
    at once after a pause (`burst`).
    """

    per_second: float
    burst: int


class Limits(Struct, frozen=True):
    """A limit profile."""

    name: str
    rate: Rate
    """The rate limit for each operation in one account and region, or for each account if `is_of_account` is true."""
    is_of_account: bool
    """Whether the rate limit applies to all operations and regions of an account together."""
    email_addresses: int | None
    """The maximum number of email addresses in one instance; None if there is no quota."""

    @property
    def in_words(self) -> str:
        """A short description of the quota and the rate limit."""
        quota = "any number of" if self.email_addresses is None else str(self.email_addresses)
        what = "account" if self.is_of_account else "operation"
        rate = f"{self.rate.per_second:,g} calls/s per {what}, {self.rate.burst:,} at once"
        return f"{quota} email addresses per instance; {rate}"


RELAXED = Limits("relaxed", Rate(20_000, 40_000), is_of_account=True, email_addresses=None)
"""The profile for laptops and CI: its limits are generous, but prevent one account from overloading the server."""

AWS = Limits("aws", Rate(2, 5), is_of_account=False, email_addresses=100)
"""The default limits of Amazon Connect ("Amazon Connect service quotas" in its administrator guide)."""

PROFILES = {limits.name: limits for limits in (RELAXED, AWS)}


class Admission(NamedTuple):
    """The decision on whether to admit one more call. All times are in seconds."""

    admitted: bool
    full_at: float
    """The time at which the bucket will be full again. The caller must pass this time to the next call of `admit`."""
    wait: float
    """The number of seconds until the bucket has a token for the call, even if this is longer than `patience`."""


def admit(full_at: float, now: float, rate: Rate, *, patience: float = 0) -> Admission:
    """Take a token from a bucket that will be full at `full_at`, if a token becomes available within `patience`
    seconds.

    For a new bucket, `full_at` is 0.
    """
    interval = 1 / rate.per_second
    # No bucket takes longer than this to fill, so a later `full_at` must have been stored before the clock was set
    # back.
    full_at = min(full_at, now + rate.burst * interval + patience)
    next_full_at = max(full_at, now) + interval
    wait = max(0, next_full_at - now - rate.burst * interval)
    # Sums of fractions are not exact, so an error of a millionth of the interval is tolerated.
    if wait > patience + interval * 1e-6:
        return Admission(admitted=False, full_at=full_at, wait=wait)
    return Admission(admitted=True, full_at=next_full_at, wait=wait)
