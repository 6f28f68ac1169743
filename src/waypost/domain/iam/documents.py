"""Parses a policy document as JSON, without interpreting the policy elements."""

import json
from typing import Any

from waypost.domain import errors

MAX_SIZE = 6144
"""The maximum size of a policy in characters, not counting white space.

The size equals the quota for a managed policy (IAM User Guide, "IAM and STS quotas").
"""


class Number(str):
    """A number without quotes, spelled as in the policy document. Only conditions may contain such numbers."""

    __slots__ = ()


def read(document: str) -> dict[str, Any]:
    """Parse the document as a JSON object, or raise `errors.Invalid` with the reason."""
    size = sum(map(len, document.split()))
    if size > MAX_SIZE:
        raise errors.Invalid(
            f"The policy has {size:,} characters without white space; the maximum is {MAX_SIZE:,} characters"
        )
    try:
        parsed = json.loads(
            document, object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise errors.Invalid(f"The policy is not valid JSON: {error}") from error
    except RecursionError as error:
        raise errors.Invalid("The policy cannot be parsed because its JSON is nested too deeply") from error
    if not isinstance(parsed, dict):
        raise errors.Invalid("The policy must be a JSON object, with Version and Statement")
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, and refuse a repeated name.

    Python and JavaScript would keep the last value of a repeated name, but a person may notice only the first value.
    """
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.Invalid(f"The policy has the name {twice!r} twice in the same object")
    return members


def _no_constant(name: str) -> None:
    raise errors.Invalid(f"The policy is not valid JSON: JSON has no {name}")
