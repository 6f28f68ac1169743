"""The identity policy. Its statements define which actions on which resources are allowed or denied, and under which
conditions.

`parse` reads a document in the IAM policy language and refuses every document that IAM refuses. So an operator sees a
mistake immediately when setting a policy, and not later, when the policy is evaluated for a call. `parse` also refuses
statements that IAM accepts but that can never apply, such as a statement whose condition has an invalid date.

Sources: IAM User Guide, "Grammar of the IAM JSON policy language", "IAM JSON policy element reference",
"IAM policy validation check reference"; and the messages of MalformedPolicyDocument.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.iam import conditions, documents, patterns
from waypost.domain.iam.conditions import Condition
from waypost.domain.iam.patterns import Pattern, Wildcard

ALLOW_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
"""The policy document that allows everything."""


class Statement(Struct, frozen=True, kw_only=True):
    """A policy statement. It applies to a request if its actions, its resources and all its conditions match."""

    actions: re.Pattern[str] | None
    """One pattern for all names in Action or NotAction; None if Action is `*`."""
    other_actions: bool
    """Whether the statement covers all actions except the named actions (NotAction)."""
    resources: tuple[Pattern, ...] | None
    """The ARNs in Resource or NotResource; None if Resource is `*`."""
    other_resources: bool
    """Whether the statement covers all resources except the named resources (NotResource)."""
    conditions: tuple[Condition, ...]
    keys: frozenset[str]
    """The condition keys that the statement's conditions and variables need."""


class Policy(Struct, frozen=True):
    """A parsed policy document. The order of the statements in a policy does not matter."""

    denials: tuple[Statement, ...]
    permissions: tuple[Statement, ...]
    keys: frozenset[str]

    def mentions(self, prefix: str) -> bool:
        """Return whether the policy uses a condition key with this lower-case prefix, such as `aws:resourcetag/`."""
        return any(key.startswith(prefix) for key in self.keys)


_ELEMENTS = {"Version", "Id", "Statement"}
_STATEMENT_ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}

_EFFECTS = ("Allow", "Deny")
_VARIABLES_SINCE = "2012-10-17"
_VERSIONS = ("2008-10-17", _VARIABLES_SINCE)

_SID = re.compile(r"[A-Za-z0-9]*")
_VENDOR = re.compile(r"[A-Za-z0-9.-]+|\*")
_ACTION_NAME = re.compile(r"[A-Za-z0-9*?_.-]+")
_PARTITION = re.compile(r"aws(?:-[a-z]+)*")


def parse(document: str) -> Policy:
    """Parse a policy document, or raise `errors.Invalid` with the location and the cause of the first error."""
    policy = documents.read(document)
    for name in policy:
        if name not in _ELEMENTS:
            raise errors.Invalid(f"The policy has an unknown element, {name}; it can have Version, Id and Statement")
    version = policy.get("Version", _VERSIONS[0])
    if version not in _VERSIONS:
        raise errors.Invalid(f"Version must be {' or '.join(_VERSIONS)}, not {_shown(version)}")
    if type(policy.get("Id", "")) is not str:
        raise errors.Invalid("Id must be a string")
    denials: list[Statement] = []
    permissions: list[Statement] = []
    for place, statement in _statements(policy.get("Statement")):
        try:
            read = _statement(statement, variables=version >= _VARIABLES_SINCE)
        except errors.Invalid as error:
            raise errors.Invalid(f"{place}: {error.message}") from error
        (denials if statement["Effect"] == "Deny" else permissions).append(read)
    keys = frozenset[str]().union(*(statement.keys for statement in (*denials, *permissions)))
    return Policy(tuple(denials), tuple(permissions), keys)


def _statements(found: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    statements = found if isinstance(found, list) else [found]
    if found is None or not statements:
        raise errors.Invalid("The policy has no Statement; it needs at least one statement")
    sids: dict[str, str] = {}
    for number, statement in enumerate(statements, start=1):
        place = f"Statement {number}"
        if not isinstance(statement, dict):
            raise errors.Invalid(f"{place} must be a JSON object, not {_shown(statement)}")
        sid = statement.get("Sid", "")
        if type(sid) is not str or not _SID.fullmatch(sid):
            raise errors.Invalid(f"{place}: Sid may have only letters (A to Z, a to z) and digits, not {_shown(sid)}")
        if sid and sids.setdefault(sid, place) != place:
            raise errors.Invalid(f"{place} has the same Sid {sid!r} as {sids[sid]}; a Sid must be unique")
        yield place, statement


def _statement(statement: Mapping[str, Any], *, variables: bool) -> Statement:
    for name in statement:
        if name in {"Principal", "NotPrincipal"}:
            raise errors.Invalid(
                f"{name} is not allowed in an identity policy, which applies to the user that it is attached to"
            )
        if name not in _STATEMENT_ELEMENTS:
            raise errors.Invalid(f"unknown element {name}")
    if "Effect" not in statement:
        raise errors.Invalid("Effect is missing; it must be Allow or Deny")
    if statement["Effect"] not in _EFFECTS:
        raise errors.Invalid(f"Effect must be Allow or Deny, not {_shown(statement['Effect'])}")
    names, other_actions = _one_of(statement, "Action")
    actions = [_action(name) for name in names]
    arns, other_resources = _one_of(statement, "Resource")
    resources = [_resource(arn, variables=variables) for arn in arns]
    tested, needed = _conditions(statement.get("Condition", {}), variables=variables)
    return Statement(
        actions=None if "*" in names and not other_actions else re.compile("|".join(actions), re.IGNORECASE | re.ASCII),
        other_actions=other_actions,
        resources=None if "*" in arns and not other_resources else tuple(resources),
        other_resources=other_resources,
        conditions=tested,
        keys=needed.union(*(pattern.needed_keys for pattern in resources)),
    )


def _one_of(statement: Mapping[str, Any], name: str) -> tuple[Sequence[str], bool]:
    """Return the strings of an element such as Action or NotAction, and whether the element is the negated form."""
    other = f"Not{name}"
    if name in statement and other in statement:
        raise errors.Invalid(f"{name} and {other} are mutually exclusive")
    if name not in statement and other not in statement:
        raise errors.Invalid(f"the statement must have {name} or {other}")
    given = name if name in statement else other
    texts = _listed(given, statement[given])
    for text in texts:
        if type(text) is not str:
            raise errors.Invalid(f"{given} must be a string or a list of strings, not {_shown(text)}")
    return texts, given == other


def _listed(element: str, found: Any) -> list[Any]:
    """Return the value of a policy element as a list.

    A single value is treated as a list of one member.
    """
    members = found if isinstance(found, list) else [found]
    if not members:
        raise errors.Invalid(f"{element} is an empty list")
    return members


def _action(source: str) -> str:
    """Validate the name of an action, and return its regular expression."""
    vendor, colon, name = source.partition(":")
    if not colon and source != "*":
        raise errors.Invalid(
            f"the action {source!r} must begin with a service prefix, as in connect:DescribeEmailAddress"
        )
    if not _VENDOR.fullmatch(vendor):
        raise errors.Invalid(
            f"the service prefix of the action {source!r} must be one name without wildcards, such as connect"
        )
    if colon and not _ACTION_NAME.fullmatch(name):
        raise errors.Invalid(
            f"the action {source!r} must have one colon, followed by a name such as DescribeEmailAddress"
        )
    return patterns.glob(source)


def _resource(source: str, *, variables: bool) -> Pattern:
    if source == "*":
        return patterns.pattern(source, variables=False)
    parts = patterns.arn(source, variables=variables)
    if parts[0] != ("arn",):
        raise errors.Invalid(f'the resource {source!r} must be an ARN, or "*"')
    # "AWS automatically completes the ARN by adding wildcard characters to all missing fields."
    parts += [(Wildcard.MANY,)] * (patterns.ARN_PARTS - len(parts))
    if any(patterns.keys_of(part) for part in parts[:-1]):
        raise errors.Invalid(f"the resource {source!r} can have variables only after its fifth colon")
    _, partition, vendor, *_ = (patterns.plain(part) for part in parts)
    if partition is not None and not _PARTITION.fullmatch(partition):
        raise errors.Invalid(
            f"the partition of the resource {source!r} must be an AWS partition such as aws, aws-cn or aws-us-gov"
        )
    if not vendor:
        raise errors.Invalid(f"the resource {source!r} must name its service without wildcards, such as connect")
    return patterns.of_parts(parts)


def _conditions(found: Any, *, variables: bool) -> tuple[tuple[Condition, ...], frozenset[str]]:
    if not isinstance(found, dict):
        raise errors.Invalid("Condition must be a JSON object of operators")
    tested: list[Condition] = []
    needed: frozenset[str] = frozenset()
    for operator, lines in found.items():
        if not isinstance(lines, dict) or not lines:
            raise errors.Invalid(f"Condition {operator} must be a JSON object with at least one key and its values")
        for key, values in lines.items():
            place = f"Condition {operator}, {key}"
            texts = [_operand(place, value) for value in _listed(place, values)]
            try:
                condition, keys = conditions.read(operator, key, texts, variables=variables)
            except errors.Invalid as error:
                raise errors.Invalid(f"{place}: {error.message}") from error
            tested.append(condition)
            needed |= keys
    return tuple(tested), needed


def _operand(place: str, value: Any) -> str:
    """Return a condition value as a string.

    "Quotation marks are optional for numeric and Boolean values" (IAM User Guide, "Grammar of the IAM JSON policy
    language").
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        raise errors.Invalid(
            f"{place} must be a string, a number, a boolean, or a list of such values, not {_shown(value)}"
        )
    return str(value)


def _shown(value: Any) -> str:
    """Format a JSON value for an error message: strings in quotes, and at most 60 characters of a long value."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
