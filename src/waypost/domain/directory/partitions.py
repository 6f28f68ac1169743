"""Partitions of AWS, and which of them a region is in.

Source: what AWS publishes for its SDKs (botocore's `partitions.json`), in `partition_table`.
"""

import re
from functools import lru_cache

from waypost.domain.directory.partition_table import PARTITIONS

_LETTERS = re.compile(r"[a-z0-9-]{1,32}")
"""The form of a region's name. The longest known one has 14 characters."""

_REGIONS = frozenset(region for _, _, regions in PARTITIONS for region in regions)


def is_region(text: str) -> bool:
    """Whether it is one of the regions that AWS publishes.

    A well-formed but unknown name is refused: callers could invent any number of regions, each with its own rate limits
    and instances.
    """
    return text in _REGIONS


def partition_of(region: str) -> str:
    """The partition of a region, as ARNs name it.

    Data of earlier versions can have regions that are not published. As in the SDKs, the form of the name decides the
    partition; all others are in `aws`.
    """
    return _named(region) or "aws"


@lru_cache(maxsize=256)
def _named(region: str) -> str:
    """The partition that has the region; empty if none has."""
    if not _LETTERS.fullmatch(region):
        return ""
    for name, pattern, regions in PARTITIONS:
        if region in regions or re.fullmatch(pattern, region):
            return name
    return ""
