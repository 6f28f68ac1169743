"""The rules for tags: the allowed keys, and the maximum number of tags per resource.

Source: "Tagging your AWS resources" in the Tagging AWS Resources guide, and the service model of Amazon Connect.
"""

from collections.abc import Collection, Iterable

from waypost.domain import errors

MAX_TAGS = 50
"""The maximum number of user tags on one resource."""

RESERVED_PREFIX = "aws:"
"""The prefix of reserved tag keys. A key is reserved if it has this prefix in any letter case.

The service model's pattern for tag keys refuses the prefix only in lower case.
"""


def check_together(present: Iterable[str], new: Collection[str]) -> None:
    """Raise `errors.Invalid` if the tag keys `new` cannot be added to a resource with the keys `present`.

    Keys cannot be added if one of them is reserved, or if the resource would have too many tags. A key that is in both
    `present` and `new` is counted only once.
    """
    refuse_reserved(new)
    before = set(present)
    together = before.union(new)
    if len(together) > MAX_TAGS:
        raise errors.Invalid(
            f"A resource may have at most {MAX_TAGS} tags. "
            f"This resource has {len(before)} tags, and would have {len(together)} with the new tags."
        )


def refuse_reserved(keys: Iterable[str]) -> None:
    """Raise `errors.Invalid` if a key has the prefix that is reserved for AWS."""
    for key in keys:
        if key.lower().startswith(RESERVED_PREFIX):
            raise errors.Invalid(f"Tag key {key!r} is reserved: keys must not start with {RESERVED_PREFIX!r}.")
