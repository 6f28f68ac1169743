"""Partitions of AWS, and which of them a region is in.

Source: what AWS publishes for its SDKs (botocore's `partitions.json`), in `partition_table`.
"""

import re
from functools import lru_cache

from waypost.domain.partition_table import PARTITIONS

_LETTERS = re.compile(r"[a-z0-9-]{1,32}")
"""What regions are written with; the longest that is known has 14 characters."""

_OF_NO_PARTITION = re.compile(r"[a-z]{2}(-[a-z]{1,12}){1,2}-[0-9]")
"""What a region looks like whose part of the world may be newer than the table."""


def is_region(text: str) -> bool:
    """Whether it is a region, or looks like one that the table does not know yet."""
    return bool(_named(text)) or _OF_NO_PARTITION.fullmatch(text) is not None


def partition_of(region: str) -> str:
    """The partition of a region, as ARNs name it. As in the SDKs, `aws` has the regions that are in no partition."""
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
