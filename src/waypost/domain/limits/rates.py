"""How often an operation may be called, and how many email addresses there may be: the profiles, and the rule.

The rule is the generic cell rate algorithm (ITU-T I.371, annex A), which is a token bucket that stores one moment for
each bucket: when it will be full again.
"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Rate:
    """This many calls a second on average, and up to `burst` at once after a pause."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Limits:
    """One profile of limits."""

    name: str
    rate: Rate
    """Of each operation, for each account and region; or of all operations of an account in all regions together."""
    is_of_account: bool
    """Whether the rate is for all operations and regions of an account together."""
    email_addresses: int | None
    """In one instance; None for no quota."""

    @property
    def in_words(self) -> str:
        """The rate in words."""
        quota = "any number of" if self.email_addresses is None else str(self.email_addresses)
        what = "account" if self.is_of_account else "operation"
        rate = f"{self.rate.per_second:,g} calls/s per {what}, {self.rate.burst:,} at once"
        return f"{quota} email addresses per instance; {rate}"


RELAXED = Limits("relaxed", Rate(20_000, 40_000), is_of_account=True, email_addresses=None)
"""For a laptop and CI: generous, but one account cannot use up the server."""

AWS = Limits("aws", Rate(2, 5), is_of_account=False, email_addresses=100)
"""The defaults of Amazon Connect ("Amazon Connect service quotas" in its administrator guide)."""

PROFILES = {limits.name: limits for limits in (RELAXED, AWS)}


class Admission(NamedTuple):
    """Whether one more is admitted, and when. Moments and times are in seconds."""

    admitted: bool
    full_at: float
    """When the bucket will be full again: to be kept for the next time."""
    wait: float
    """Seconds until the bucket has room for it, whether or not that is within its patience."""


def admit(full_at: float, now: float, rate: Rate, *, patience: float = 0) -> Admission:
    """Take one from a bucket that will be full at `full_at` (0 for a new one), if it comes within `patience`."""
    interval = 1 / rate.per_second
    # No bucket is emptier than that, so a later moment was kept before the clock went back.
    full_at = min(full_at, now + rate.burst * interval + patience)
    next_full_at = max(full_at, now) + interval
    wait = max(0, next_full_at - now - rate.burst * interval)
    # A millionth of the interval is forgiven: sums of fractions are not exact.
    if wait > patience + interval * 1e-6:
        return Admission(admitted=False, full_at=full_at, wait=wait)
    return Admission(admitted=True, full_at=next_full_at, wait=wait)
