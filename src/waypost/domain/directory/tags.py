"""Tags: which keys are allowed, and how many tags a resource may have.

Source: "Tagging your AWS resources" in the Tagging AWS Resources guide, and the service model.
"""

from collections.abc import Collection, Iterable

from waypost.domain import errors

MAX_TAGS = 50
"""User tags of one resource."""

RESERVED_PREFIX = "aws:"
"""In any letter case; the model's pattern refuses the small letters only."""


def check_together(present: Iterable[str], new: Collection[str]) -> None:
    """Raise `errors.Invalid` if a resource with the keys `present` cannot have the keys `new` too.

    A key may be reserved, or the resource would have too many. A key that is there already counts once.
    """
    refuse_reserved(new)
    before = set(present)
    together = before.union(new)
    if len(together) > MAX_TAGS:
        raise errors.Invalid(
            f"A resource may have {MAX_TAGS} tags at most. This one has {len(before)}, and would have {len(together)}."
        )


def refuse_reserved(keys: Iterable[str]) -> None:
    """Raise `errors.Invalid` for the first key that only AWS may use."""
    for key in keys:
        if key.lower().startswith(RESERVED_PREFIX):
            raise errors.Invalid(f"Tag key {key!r} is reserved: keys must not start with {RESERVED_PREFIX!r}.")
