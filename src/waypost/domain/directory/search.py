"""Searches for email addresses of an instance: a tree of conditions.

Texts compare without case, tags exactly. What a tree means is said by `Condition`; a store turns it into its own
query (`store/sqlite_search.py`), and `tests/kit/reference_search.py` says the same in plain Python.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from waypost.domain import errors
from waypost.domain.directory import caseless

MAX_CONDITIONS = 100
"""Conditions on a text or tag in one search. AWS documents no limit; this one bounds what a search can cost."""

MAX_DEPTH = 10
"""How many levels of conditions there may be inside one another."""

MAX_CHARACTERS = 4096
"""Characters of all values in a search: as many as the longest text that is searched has. Case folding a long value
takes long, and so does comparing with many values."""


class Field(Enum):
    """A text of an email address that can be searched."""

    ADDRESS = "address"
    DISPLAY_NAME = "display name"
    DESCRIPTION = "description"
    ID = "id"


class Comparison(Enum):
    """How a text is compared with the value that is searched for."""

    EXACT = "EXACT"
    STARTS_WITH = "STARTS_WITH"
    CONTAINS = "CONTAINS"


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the email address is, starts with, or contains `value`, which is folded (`caseless.fold`).

    A display name or description that was never given is compared as an empty text.
    """

    field: Field
    comparison: Comparison
    value: str


@dataclass(frozen=True, slots=True)
class Tagged:
    """The email address has a tag with this key and, unless it is None, this value."""

    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Every:
    """All of these hold. An empty one always holds."""

    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these holds. An empty one never holds."""

    of: "tuple[Condition, ...]"


Condition = Text | Tagged | Every | Either


def text(field: Field, comparison: Comparison, value: str) -> Text:
    """A condition on a text, without case."""
    return Text(field, comparison, caseless.fold(value))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """One condition for all of these."""
    several = tuple(conditions)
    return several[0] if len(several) == 1 else Every(several)


def check_size(*, conditions: int, depth: int, characters: int) -> None:
    """Raise `errors.Invalid` for a search with too many conditions, too long values, or too deep a tree."""
    for what, there_are, limit in (
        ("conditions", conditions, MAX_CONDITIONS),
        ("levels of conditions", depth, MAX_DEPTH),
        ("characters in its values", characters, MAX_CHARACTERS),
    ):
        if there_are > limit:
            raise errors.Invalid(f"A search may have {limit} {what} at most, not {there_are}.")


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that all have to hold, with `Every` inside `Every` taken apart."""
    if isinstance(condition, Every):
        return tuple(part for inner in condition.of for part in conjuncts(inner))
    return (condition,)
