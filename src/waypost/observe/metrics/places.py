"""The place of each time series in the array of a process: first counters and histograms, then gauges."""

from collections.abc import Mapping

from waypost.observe.metrics.families import FAMILIES, Family, Kind


def width(family: Family) -> int:
    """Return how many numbers a time series has: a histogram has one for each bucket, one for values above all buckets,
    and the sum.
    """
    return len(family.buckets) + 2 if family.kind is Kind.HISTOGRAM else 1


def _laid_out(*kinds: Kind, start: int) -> tuple[Mapping[Family, Mapping[tuple[str, ...], int]], int]:
    """Return the place of each time series of some kinds, and the place after the last one."""
    places: dict[Family, dict[tuple[str, ...], int]] = {}
    for family in FAMILIES:
        if family.kind in kinds:
            of_family = places[family] = {}
            for series in family.series:
                of_family[series] = start
                start += width(family)
    return places, start


_COUNTERS, FIRST_GAUGE = _laid_out(Kind.COUNTER, Kind.HISTOGRAM, start=0)
_GAUGES, SIZE = _laid_out(Kind.PROCESS_GAUGE, start=FIRST_GAUGE)
PLACES: Mapping[Family, Mapping[tuple[str, ...], int]] = {**_COUNTERS, **_GAUGES}
"""The place of the first number of each time series in an array."""
