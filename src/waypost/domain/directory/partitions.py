"""The AWS partitions and their regions.

Source: the list that AWS publishes for its SDKs (botocore's `partitions.json`), copied into `partition_table`.
"""

import re
from functools import lru_cache

from waypost.domain.directory.partition_table import PARTITIONS

_LETTERS = re.compile(r"[a-z0-9-]{1,32}")
"""The allowed characters and the maximum length of a region name. The longest known region name has 14 characters."""

_REGIONS = frozenset(region for _, _, regions in PARTITIONS for region in regions)


def is_region(text: str) -> bool:
    """Return whether AWS publishes a region with this name.

    A well-formed but unknown name is refused, because otherwise callers could invent any number of regions, each with
    its own rate limits and instances.
    """
    return text in _REGIONS


def partition_of(region: str) -> str:
    """Return the name of a region's partition, as it appears in ARNs.

    Data from earlier Waypost versions can contain regions that AWS does not publish. As in the AWS SDKs, the partition
    of an unpublished region depends on the form of its name. A name that matches no partition's pattern belongs to
    `aws`.
    """
    return _named(region) or "aws"


@lru_cache(maxsize=256)
def _named(region: str) -> str:
    """Return the name of the region's partition, or an empty string if no partition matches."""
    if not _LETTERS.fullmatch(region):
        return ""
    for name, pattern, regions in PARTITIONS:
        if region in regions or re.fullmatch(pattern, region):
            return name
    return ""
