"""The syntax of condition keys, and the lookup of their values in a request.

Key names are not case-sensitive. The tag key in `aws:ResourceTag/Team` is not case-sensitive either ("the tag key is
not case-sensitive", IAM User Guide, "AWS global condition context keys"). This module converts only the part of a key
before the first slash to lower case. The tag key stays unchanged, because the lookup function ignores the case of tag
keys.
"""

import re
from collections.abc import Callable

from waypost.domain import errors

Lookup = Callable[[str], tuple[str, ...] | None]
"""A function that returns all values of a key in the request; None or an empty tuple if the request lacks the key."""

MULTIVALUED = frozenset({"aws:tagkeys", "aws:calledvia", "aws:principalorgpaths", "aws:principalservicenameslist"})
"""The keys whose value is always a list, even if the list has only one member. Only set operators can test these
keys."""

_KEY = re.compile(r"[A-Za-z0-9][\w.:-]*(?:/.+)?", re.ASCII | re.DOTALL)


def read(text: str) -> str:
    """Return a condition key in the form that lookups use. Raises `errors.Invalid` for a malformed key."""
    if ":" not in text:
        raise errors.Invalid(
            f"the key {text!r} must begin with a service prefix, as in aws:SourceIp or connect:InstanceId"
        )
    if not _KEY.fullmatch(text):
        raise errors.Invalid(
            f"{text!r} is not a condition key; examples of keys are aws:SourceIp and aws:ResourceTag/team"
        )
    name, slash, tag_key = text.partition("/")
    return name.lower() + slash + tag_key


def single(key: str, lookup: Lookup) -> str | None:
    """Return a condition key's value. Return None if the key does not have exactly one value, or if its value is always
    a list.
    """
    values = lookup(key)
    return values[0] if values and len(values) == 1 and key not in MULTIVALUED else None
