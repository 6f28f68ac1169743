"""What is searched for among the email addresses of an instance: a tree of conditions.

Texts compare without case, tags exactly. What a tree means is said by `Condition`; a store turns it into its own
query (`store/sqlite_search.py`), and `tests/domain/reference_search.py` says the same in plain Python.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from waypost.domain import caseless, errors

MAX_CONDITIONS = 100
"""Conditions on a text or tag in one search. AWS documents no limit; this one bounds what a search can cost."""

MAX_DEPTH = 10
"""How many levels of conditions there may be inside one another."""

MAX_VALUE = 4096
"""Characters of a value that is searched for: no text that is searched is longer. Folding takes longer than it should
for a long value, and looking for one takes much memory."""


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
    """All of these hold. With none inside it always holds."""

    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these holds. With none inside it never holds."""

    of: "tuple[Condition, ...]"


Condition = Text | Tagged | Every | Either


def text(field: Field, comparison: Comparison, value: str) -> Text:
    """A condition on a text, without case. Raises `errors.Invalid` for a value that is too long."""
    if len(value) > MAX_VALUE:
        raise errors.Invalid(f"A value that is searched for may have {MAX_VALUE} characters at most, not {len(value)}.")
    return Text(field, comparison, caseless.fold(value))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """One condition for all of these."""
    several = tuple(conditions)
    return several[0] if len(several) == 1 else Every(several)


def checked(condition: Condition) -> Condition:
    """The same condition. Raises `errors.Invalid` if it is too large or too deep to be worth an answer."""
    if _depth(condition) > MAX_DEPTH:
        raise errors.Invalid(f"Search conditions may be {MAX_DEPTH} levels deep at most.")
    if (count := _count(condition)) > MAX_CONDITIONS:
        raise errors.Invalid(f"A search may have {MAX_CONDITIONS} conditions at most, not {count}.")
    return condition


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that all have to hold, with `Every` inside `Every` taken apart."""
    if isinstance(condition, Every):
        return tuple(part for inner in condition.of for part in conjuncts(inner))
    return (condition,)


def _depth(condition: Condition) -> int:
    if isinstance(condition, Every | Either):
        return 1 + max(map(_depth, condition.of), default=0)
    return 0


def _count(condition: Condition) -> int:
    """How many conditions there are; one that is empty counts too."""
    if isinstance(condition, Every | Either):
        return max(1, sum(map(_count, condition.of)))
    return 1
