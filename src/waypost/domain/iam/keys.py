"""Condition keys: how they are written, and how the values of a request are found by them.

Key names compare without case, also the tag key in `aws:ResourceTag/Team` ("the tag key is not case-sensitive",
IAM User Guide, "AWS global condition context keys"). Here only the part before the first slash is folded; the
tag key is handed on as the policy writes it, and whoever looks it up among tags compares it without case.
"""

import re
from collections.abc import Callable

from waypost.domain import errors

Lookup = Callable[[str], tuple[str, ...] | None]
"""Finds all values of a key in the request, or None (or nothing) if the request does not have the key."""

MULTIVALUED = frozenset({"aws:tagkeys", "aws:calledvia", "aws:principalorgpaths", "aws:principalservicenameslist"})
"""The keys that are lists even when there is one value in them, so that only set operators can test them."""

_KEY = re.compile(r"[A-Za-z0-9][\w.:-]*(?:/.+)?", re.ASCII | re.DOTALL)


def read(text: str) -> str:
    """A condition key as lookups are given it. Raises `errors.Invalid` for a text that is not a condition key."""
    if ":" not in text:
        raise errors.Invalid(
            f"the key {text!r} needs the vendor it belongs to, as in aws:SourceIp or connect:InstanceId"
        )
    if not _KEY.fullmatch(text):
        raise errors.Invalid(f"{text!r} is no condition key, as in aws:SourceIp or aws:ResourceTag/team")
    name, slash, tag_key = text.partition("/")
    return name.lower() + slash + tag_key


def single(key: str, lookup: Lookup) -> str | None:
    """The value of a key that has exactly one, else None: lists cannot be used as if they were text."""
    values = lookup(key)
    return values[0] if values and len(values) == 1 and key not in MULTIVALUED else None
