"""Tags: what may be one, and how many a resource may have.

Source: "Tagging your AWS resources" in the Tagging AWS Resources guide, and the service model.
"""

from collections.abc import Iterable, Mapping

from waypost.domain import errors

MAX_TAGS = 50
"""User tags of one resource."""

RESERVED_PREFIX = "aws:"
"""In any letter case; the model's pattern refuses the small letters only."""


def merged(present: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The tags of a resource after `new` is added to those present: a key that is there gets the new value.

    Raises `errors.Invalid` for a reserved key, or if that makes too many.
    """
    refuse_reserved(new)
    together = {**present, **new}
    if len(together) > MAX_TAGS:
        raise errors.Invalid(
            f"A resource may have {MAX_TAGS} tags at most. This one has {len(present)}, and would have {len(together)}."
        )
    return together


def refuse_reserved(keys: Iterable[str]) -> None:
    """Raise `errors.Invalid` for the first key that only AWS may use."""
    for key in keys:
        if key.lower().startswith(RESERVED_PREFIX):
            raise errors.Invalid(f"Tag key {key!r} is reserved: keys must not start with {RESERVED_PREFIX!r}.")
