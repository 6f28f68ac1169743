"""Decides whether a quantity that was measured repeatedly during a run grows."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """How much a quantity may grow between the second quarter of a run and its last quarter. The first quarter does not
    count, because caches and files get their size then.
    """

    unit: str
    share: float | None = None
    """The allowed growth, as a share of the value in the second quarter. None if the quantity is only measured."""
    amount: float = 0.0
    """The growth that is always allowed, in the quantity's unit."""


LIMITS: Mapping[str, Limit] = {
    "memory": Limit("MB", 0.10, 4.0),
    "descriptors": Limit("", 0.0, 6.0),
    "threads": Limit("", 0.0, 4.0),
    "log of the database": Limit("MB", 0.10, 4.0),
    "database": Limit("MB"),
    "age of the oldest message": Limit("s", 0.15, 10.0),
    "database for each message": Limit("KB", 0.15, 1.0),
    "database for each remembered call": Limit("KB", 0.15, 0.1),
}
"""The quantities, by name. The clients keep a constant number of connections, and retention rules limit the mail.
`place.data_of` says why the file of the database may grow.
"""


@dataclass(frozen=True)
class Verdict:
    """How a quantity changed: its median in the second quarter, and in the last quarter."""

    before: float
    after: float
    allowed: float | None
    """The largest value that is allowed in the last quarter; None if there is no limit."""

    @property
    def grows(self) -> bool:
        return self.allowed is not None and self.after > self.allowed


def judged(values: Sequence[float], limit: Limit) -> Verdict:
    """Compare the quarters of a run. `values` were measured at equal intervals; there must be at least four."""
    quarter = len(values) // 4
    before = statistics.median(values[quarter : 2 * quarter])
    after = statistics.median(values[-quarter:])
    allowed = None if limit.share is None else before * (1 + limit.share) + limit.amount
    return Verdict(before, after, allowed)
