"""One entry of a Condition element: an operator, a key, and values with which the key's value is compared.

For example, the entry `"ForAnyValue:StringNotLikeIfExists": {"aws:TagKeys": ["cost*", "team"]}` consists of the
quantifier ForAnyValue, the negated operator StringNotLike, the suffix IfExists, the key aws:TagKeys, and two values.

Each operator is based on a positive comparison of one value in the request with one value in the policy. The rules for
negation, IfExists and quantifiers build on this comparison.

If the policy lists several values, they are alternatives. A negated operator is true if the corresponding positive
operator is false. So with several values, a negated operator requires that the request matches none of the values.

If the request does not have the key, positive operators are false and negated operators are true. With IfExists, every
operator without a quantifier is true for a missing key. If the key is missing, ForAllValues is true and ForAnyValue is
false, with or without IfExists.

A request value of the wrong type does not match, and neither does a variable without a value, so negated operators are
true in both cases. For example, a statement that denies all callers outside a network also denies a caller without an
address.

A condition on a key with several values needs a quantifier, because the result without a quantifier is undefined. The
caller may have chosen the number of values, and must not gain access by that choice. So if the result is undefined, a
Deny statement applies and an Allow statement does not. If the value of a key is always a list, an operator without a
quantifier is false.

Sources: IAM User Guide, "Condition operators", "Policy variables with no value", "Conditions with multiple
context keys or values". Our decisions about cases that the IAM User Guide does not cover are not verified against AWS.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.iam import keys, operands, patterns

Test = Callable[[str, keys.Lookup], bool]
"""A function that returns whether a value of the request matches one value of the policy."""


class Quantifier(Enum):
    """The set operator of a condition. It defines how many of the key's values must match."""

    ONLY = ""
    ANY = "ForAnyValue:"
    ALL = "ForAllValues:"


class Comparison(Struct, frozen=True):
    """A condition that compares the values of a key."""

    key: str
    tests: tuple[Test, ...]
    negated: bool
    if_exists: bool
    quantifier: Quantifier

    def holds(self, lookup: keys.Lookup, *, doubtful: bool = False) -> bool:
        """Return whether the request satisfies this condition; `doubtful` is the result in undefined cases."""
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


class Presence(Struct, frozen=True):
    """The Null condition, which only tests whether the request has the key."""

    key: str
    accepted: frozenset[bool]
    """The accepted states of the key: True stands for a missing key, and False for a key that is present."""

    def holds(self, lookup: keys.Lookup, *, doubtful: bool = False) -> bool:  # noqa: ARG002 - never undefined
        """Return whether the request satisfies this condition."""
        return (not lookup(self.key)) in self.accepted


Condition = Comparison | Presence


def read(operator_name: str, key: str, values: Sequence[str], *, variables: bool) -> tuple[Condition, frozenset[str]]:
    """Parse one entry of a Condition element; return the condition and all condition keys that it needs.

    Raises `errors.Invalid` for an unknown operator, a malformed key or an invalid value.
    """
    found = _OPERATOR.fullmatch(operator_name)
    if not found:
        raise errors.Invalid(_why_unknown(operator_name))
    name, if_exists = found["name"], found["if_exists"] is not None
    key = keys.read(key)
    if name == "Null":
        if if_exists:
            raise errors.Invalid("Null tests whether a key exists, so it cannot have IfExists")
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
"""A function that parses one value of the policy. It returns the test for this value, and the condition keys that the
variables in the value refer to."""

_NO_KEYS: frozenset[str] = frozenset()


def _string(convert: Callable[[str], Any]) -> Reader:
    """Return a `Reader` whose test converts both strings before comparing them. A string that converts to None never
    matches.
    """

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
    """Parse the operand of a Bool condition. The operand may be a variable, like the operands of string and ARN
    operators.

    Source: IAM User Guide, "Boolean condition operators".
    """
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
        raise errors.Invalid(f"{source!r} is not an ARN; it must be arn:partition:service:region:account:resource")
    pattern = patterns.of_parts(parts)
    return pattern.matches, pattern.needed_keys


def _typed(convert: Callable[[str], Any], kind: str, compare: Callable[[Any, Any], bool]) -> Reader:
    """Return a `Reader` for numbers, dates or bytes. In a policy, such values cannot contain variables.

    The arguments of `compare` are the request's value and the policy's value, in this order.
    """

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
    """Parse a date as microseconds since 1970; return None if it is invalid or only a year.

    A year alone would be parsed as a number of seconds since 1970, so a statement that denies access until that year
    would never apply.
    """
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
"""For each positive operator, the `Reader` that parses its policy values.

ArnEquals and ArnLike "behave identically" (IAM User Guide).
"""

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
            return f"there is no operator {operator_name}; names of operators are case-sensitive, as in {name}"
    return f"there is no operator {operator_name}"
