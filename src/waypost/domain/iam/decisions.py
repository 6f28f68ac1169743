"""The evaluation of a policy for a call: whether the caller may perform an action on a resource.

If a Deny statement applies, the call is denied. Otherwise, if an Allow statement applies, the call is allowed. If no
statement applies, the call is denied implicitly. Source: IAM User Guide, "Policy evaluation logic".
"""

import functools
from enum import Enum

from waypost.domain.iam import keys
from waypost.domain.iam.policies import Policy, Statement


class Decision(Enum):
    """The result of evaluating a policy for a request."""

    ALLOWED = "allowed"
    IMPLICIT_DENY = "implicit deny"
    """No statement of the policy allows the request."""
    EXPLICIT_DENY = "explicit deny"
    """A statement of the policy denies the request."""


def decide(policy: Policy | None, *, action: str, resource: str, lookup: keys.Lookup) -> Decision:
    """Evaluate a policy for one action, such as `connect:DescribeEmailAddress`, on one resource.

    `resource` is an ARN, or "*" for an action without a resource. A `policy` of None stands for a policy that could not
    be parsed. Such a policy allows nothing. `lookup` is called only for keys that a statement about this action and
    resource needs, and at most once for each key.
    """
    if policy is None:
        return Decision.IMPLICIT_DENY
    if policy.keys:
        lookup = functools.cache(lookup)
    for statement in policy.denials:
        if _applies(statement, action, resource, lookup, doubtful=True):
            return Decision.EXPLICIT_DENY
    for statement in policy.permissions:
        if _applies(statement, action, resource, lookup, doubtful=False):
            return Decision.ALLOWED
    return Decision.IMPLICIT_DENY


_RESOURCE_KEY_PREFIXES = ("aws:resourcetag/", "connect:instanceid")
"""The prefixes of condition keys whose values depend on the resource."""


class _DependsOnTheResourceError(Exception):
    """Raised if a condition key's value depends on the resource, but the action covers all resources."""


def decide_for_all(policy: Policy | None, *, action: str, lookup: keys.Lookup) -> Decision:
    """Evaluate a policy for an action, such as `waypost:Inspect`, that covers all resources of an account.

    A Deny statement applies regardless of the resources that it names, because the action may affect these resources. A
    Deny statement also applies if its condition depends on the resource. An Allow statement applies only if it covers
    all resources and its conditions do not depend on the resource. So an Allow statement with NotResource never
    applies. `lookup` is never called for a key that depends on the resource.
    """

    def lookup_without_resource(key: str) -> tuple[str, ...] | None:
        if key.startswith(_RESOURCE_KEY_PREFIXES):
            raise _DependsOnTheResourceError
        return lookup(key)

    for statement in policy.denials if policy else ():
        if _denies_some(statement, action, lookup_without_resource):
            return Decision.EXPLICIT_DENY
    for statement in policy.permissions if policy else ():
        try:
            if not statement.other_resources and _applies(
                statement, action, "*", lookup_without_resource, doubtful=False
            ):
                return Decision.ALLOWED
        except _DependsOnTheResourceError:
            continue
    return Decision.IMPLICIT_DENY


def _denies_some(statement: Statement, action: str, lookup: keys.Lookup) -> bool:
    """Return whether a Deny statement may apply to an action on at least one resource."""
    if not _is_about(statement, action):
        return False
    for condition in statement.conditions:
        try:
            if not condition.holds(lookup, doubtful=True):
                return False
        except _DependsOnTheResourceError:  # the condition may be true for some resource
            continue
    return True


def _is_about(statement: Statement, action: str) -> bool:
    names = statement.actions
    return names is None or (names.fullmatch(action) is None) is statement.other_actions


def _applies(statement: Statement, action: str, resource: str, lookup: keys.Lookup, *, doubtful: bool) -> bool:
    if not _is_about(statement, action):
        return False
    if statement.resources is not None:
        is_named = any(pattern.matches(resource, lookup) for pattern in statement.resources)
        if is_named is statement.other_resources:
            return False
    return all(condition.holds(lookup, doubtful=doubtful) for condition in statement.conditions)
