"""The JSON of a policy document, before its elements are interpreted."""

import json
from typing import Any

from waypost.domain import errors

MAX_SIZE = 6144
"""Characters, not counting white space: what a managed policy may have (IAM User Guide, "IAM and STS quotas")."""


class Number(str):
    """A number as the document writes it. Only conditions may have numbers without quotes."""

    __slots__ = ()


def read(document: str) -> dict[str, Any]:
    """Parse the document as a JSON object, or raise `errors.Invalid` with the reason."""
    size = sum(map(len, document.split()))
    if size > MAX_SIZE:
        raise errors.Invalid(f"The policy has {size:,} characters without white space; {MAX_SIZE:,} is the most")
    try:
        parsed = json.loads(
            document, object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise errors.Invalid(f"The policy is no JSON: {error}") from error
    except RecursionError as error:
        raise errors.Invalid("The policy is no JSON that can be read: it is nested too deeply") from error
    if not isinstance(parsed, dict):
        raise errors.Invalid("The policy must be a JSON object, with Version and Statement")
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python, as JavaScript, would keep the last of two equal names; a person reads the first."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.Invalid(f"The policy has {twice!r} twice in the same object")
    return members


def _no_constant(name: str) -> None:
    raise errors.Invalid(f"The policy is no JSON: there is no {name} in it")
