"""One line of a Condition: an operator, a key, and the values that the key is compared with.

    "ForAnyValue:StringNotLikeIfExists": {"aws:TagKeys": ["cost*", "team"]}
     quantifier   not operator  if exists   key            values

The positive comparison is defined for one value of the request; everything else follows from it:

- Several values in the policy are alternatives. A negated operator is true where the positive one is not, so
  several values are then excluded together.
- A key that the request does not have matches nothing: positive operators are false, negated ones true. With
  IfExists all are true. ForAllValues is true of no values at all, ForAnyValue is not, IfExists or no.
- A value in the request that is not of the operator's kind, and a variable without a value, match nothing
  either. So they, too, make negated operators true: a Deny of everything outside a network also denies whoever
  has no address at all.
- A key with several values needs a quantifier. Without one the result is undefined, and the caller may have chosen the
number of values; so a Deny applies and an Allow does not. A key that is always a list makes every operator false.

Sources: IAM User Guide, "Condition operators", "Policy variables with no value", "Conditions with multiple
context keys or values". What they leave open is decided here, and unverified against AWS.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from waypost.domain import errors
from waypost.domain.iam import keys, operands, patterns

Test = Callable[[str, keys.Lookup], bool]
"""Whether a value of the request matches one value of the policy."""


class Quantifier(Enum):
    """For which of a key's values the comparison must be true."""

    ONLY = ""
    ANY = "ForAnyValue:"
    ALL = "ForAllValues:"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition that looks at the values of a key."""

    key: str
    tests: tuple[Test, ...]
    negated: bool
    if_exists: bool
    quantifier: Quantifier

    def holds(self, lookup: keys.Lookup, *, doubtful: bool = False) -> bool:
        """Whether the request fulfils this condition; `doubtful` is the result where that is undefined."""
        values = lookup(self.key)
        if not values:
            if self.quantifier is Quantifier.ONLY:
                return self.negated or self.if_exists
            return self.quantifier is Quantifier.ALL
        if self.quantifier is Quantifier.ANY:
            return any(self._is_true_of(value, lookup) for value in values)
        if self.quantifier is Quantifier.ONLY:
            if self.key in keys.MULTIVALUED:
                return False
            if len(values) > 1:
                return doubtful
        return all(self._is_true_of(value, lookup) for value in values)

    def _is_true_of(self, value: str, lookup: keys.Lookup) -> bool:
        return self.negated != any(test(value, lookup) for test in self.tests)


@dataclass(frozen=True, slots=True)
class Presence:
    """The condition Null, that asks only whether the request has the key."""

    key: str
    accepted: frozenset[bool]
    """Whether the key may be missing (true), present (false), or either."""

    def holds(self, lookup: keys.Lookup, *, doubtful: bool = False) -> bool:  # noqa: ARG002 - there is no doubt
        """Whether the request fulfils this condition."""
        return (not lookup(self.key)) in self.accepted


Condition = Comparison | Presence


def read(operator_name: str, key: str, values: Sequence[str], *, variables: bool) -> tuple[Condition, frozenset[str]]:
    """Read one line of a Condition, to it and all keys that it needs.

    Raises `errors.Invalid` for an operator, a key or a value that IAM does not know.
    """
    found = _OPERATOR.fullmatch(operator_name)
    if not found:
        raise errors.Invalid(_why_unknown(operator_name))
    name, if_exists = found["name"], found["if_exists"] is not None
    key = keys.read(key)
    if name == "Null":
        if if_exists:
            raise errors.Invalid("Null asks whether a key exists, so it has no IfExists")
        return Presence(
            key, frozenset(_operand(operands.boolean, "true or false", value) for value in values)
        ), frozenset({key})
    positive, negated = (_NEGATIONS[name], True) if name in _NEGATIONS else (name, False)
    tests: list[Test] = []
    needed = {key}
    for value in values:
        test, more = _OPERATORS[positive](value, variables)
        tests.append(test)
        needed |= more
    return Comparison(key, tuple(tests), negated, if_exists, Quantifier(found["quantifier"] or "")), frozenset(needed)


Reader = Callable[[str, bool], tuple[Test, frozenset[str]]]
"""Parses one value of the policy; returns its test, and the condition keys that its variables need."""

_NO_KEYS: frozenset[str] = frozenset()


def _string(convert: Callable[[str], Any]) -> Reader:
    """Texts, compared as what they are converted to; what converts to None equals nothing."""

    def reader(source: str, variables: bool) -> tuple[Test, frozenset[str]]:
        text = patterns.text(source, variables=variables)

        def test(value: str, lookup: keys.Lookup) -> bool:
            wanted = text.value(lookup)
            if wanted is None:
                return False
            found = convert(value)
            return found is not None and bool(found == convert(wanted))

        return test, patterns.keys_of(text.pieces)

    return reader


def _boolean(source: str, variables: bool) -> tuple[Test, frozenset[str]]:
    """The only kind apart from texts that may be a variable (IAM User Guide, "Boolean condition operators")."""
    test, needed = _string(operands.boolean)(source, variables)
    if not needed:
        _operand(operands.boolean, "true or false", source)
    return test, needed


def _string_like(source: str, variables: bool) -> tuple[Test, frozenset[str]]:
    pattern = patterns.pattern(source, variables=variables)
    return pattern.matches, pattern.needed_keys


def _arn_like(source: str, variables: bool) -> tuple[Test, frozenset[str]]:
    parts = patterns.arn(source, variables=variables)
    if len(parts) < patterns.ARN_PARTS or parts[0] != ("arn",):
        raise errors.Invalid(f"{source!r} is no ARN, which is arn:partition:service:region:account:resource")
    pattern = patterns.of_parts(parts)
    return pattern.matches, pattern.needed_keys


def _typed(convert: Callable[[str], Any], kind: str, compare: Callable[[Any, Any], bool]) -> Reader:
    """Numbers, dates and bytes: no variables, and the request's value comes first."""

    def reader(source: str, _variables: bool) -> tuple[Test, frozenset[str]]:
        wanted = _operand(convert, kind, source)

        def test(value: str, _lookup: keys.Lookup) -> bool:
            found = convert(value)
            return found is not None and compare(found, wanted)

        return test, _NO_KEYS

    return reader


def _ip_address(source: str, _variables: bool) -> tuple[Test, frozenset[str]]:
    where = _operand(operands.network, "an IP address or range, as in 192.0.2.0/24 or 2001:db8::/32", source)
    return lambda value, _lookup: operands.is_within(value, where), _NO_KEYS


def _operand(convert: Callable[[str], Any], kind: str, source: str) -> Any:
    wanted = convert(source)
    if wanted is None:
        raise errors.Invalid(f"{source!r} is not {kind}")
    return wanted


def _date(text: str) -> int | None:
    """A date, but no year alone: it would be read as seconds since 1970, and a Deny until then would never apply."""
    return None if len(text) == len("2027") and text.isdecimal() else operands.moment(text)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}

_OPERATORS: Mapping[str, Reader] = {
    "StringEquals": _string(str),
    "StringEqualsIgnoreCase": _string(str.lower),
    "StringLike": _string_like,
    "Bool": _boolean,
    "IpAddress": _ip_address,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "BinaryEquals": _typed(operands.octets, "base64", operator.eq),
    **{f"Numeric{name}": _typed(operands.number, "a number", how) for name, how in _COMPARISONS.items()},
    **{f"Date{name}": _typed(_date, "a date, as in 2027-01-31T00:00:00Z", how) for name, how in _COMPARISONS.items()},
}
"""The positive operators. ArnEquals and ArnLike "behave identically" (IAM User Guide)."""

_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}

_NAMES = ("Null", *_OPERATORS, *_NEGATIONS)

_OPERATOR = re.compile(
    rf"(?P<quantifier>ForAnyValue:|ForAllValues:)?(?P<name>{'|'.join(_NAMES)})(?P<if_exists>IfExists)?"
)


def _why_unknown(operator_name: str) -> str:
    for name in _NAMES:
        if name.lower() == operator_name.lower():
            return f"there is no operator {operator_name}; operators are written as in {name}"
    return f"there is no operator {operator_name}"
