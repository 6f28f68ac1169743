"""The condition tree of a search for email addresses in an instance.

Text is compared without regard to case, and tags are compared exactly. The docstrings of the classes in `Condition`
define when a condition is true. Each store translates the tree into its own query, and `tests/kit/reference_search.py`
evaluates the tree in plain Python.
"""

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory import caseless

MAX_CONDITIONS = 100
"""The maximum number of conditions in one search. AWS documents no such limit, but Waypost must limit the cost of a
search."""

MAX_DEPTH = 10
"""The maximum depth of nested conditions in one search."""

MAX_CHARACTERS = 4096
"""The maximum total length of all values in a search, in characters. This limit equals the maximum length of the
longest searchable field.

Without this limit, a search could take too long, because it is slow to fold long values and to compare text with many
values.
"""


class Field(Enum):
    """A searchable text field of an email address."""

    ADDRESS = "address"
    DISPLAY_NAME = "display name"
    DESCRIPTION = "description"
    ID = "id"


class Comparison(Enum):
    """How a text field is compared with a condition's value."""

    EXACT = "EXACT"
    STARTS_WITH = "STARTS_WITH"
    CONTAINS = "CONTAINS"


class Text(Struct, frozen=True):
    """The condition that a field equals, starts with, or contains `value`, which must be case-folded (`caseless.fold`).

    A display name or description that was never set is compared as an empty string.
    """

    field: Field
    comparison: Comparison
    value: str


class Tagged(Struct, frozen=True):
    """The condition that the email address has a tag with this key and, unless `value` is None, this value."""

    key: str
    value: str | None


class Every(Struct, frozen=True):
    """The condition that all conditions in `of` are true. If `of` is empty, this condition is true."""

    of: "tuple[Condition, ...]"


class Either(Struct, frozen=True):
    """The condition that at least one condition in `of` is true. If `of` is empty, this condition is false."""

    of: "tuple[Condition, ...]"


Condition = Text | Tagged | Every | Either


def text(field: Field, comparison: Comparison, value: str) -> Text:
    """Build a case-insensitive condition on a text field."""
    return Text(field, comparison, caseless.fold(value))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Combine conditions into a single condition that is true if all of them are true."""
    several = tuple(conditions)
    return several[0] if len(several) == 1 else Every(several)


def check_size(*, conditions: int, depth: int, characters: int) -> None:
    """Raise `errors.Invalid` if a search has too many conditions, too many levels of nested conditions, or too many
    characters in its values.
    """
    for what, count, limit in (
        ("conditions", conditions, MAX_CONDITIONS),
        ("levels of conditions", depth, MAX_DEPTH),
        ("characters in its values", characters, MAX_CHARACTERS),
    ):
        if count > limit:
            raise errors.Invalid(f"A search may have at most {limit} {what}, not {count}.")


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """Return the conditions that must all be true for `condition` to be true.

    Nested `Every` conditions are flattened.
    """
    if isinstance(condition, Every):
        return tuple(part for inner in condition.of for part in conjuncts(inner))
    return (condition,)
