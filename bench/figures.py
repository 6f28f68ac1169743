"""Statistics of measurements."""

import math
import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios, because a disturbance usually affects both servers in a round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=False))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that is not less than `percent` percent of the values (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
