"""Whether a policy lets a caller do one thing to one resource.

A Deny that applies outweighs everything; otherwise one Allow that applies is enough; otherwise it is denied
because nobody said that it is allowed (IAM User Guide, "Policy evaluation logic").
"""

import functools
from enum import Enum

from waypost.domain.iam import keys
from waypost.domain.iam.policies import Policy, Statement


class Decision(Enum):
    """What a policy says to a request."""

    ALLOWED = "allowed"
    IMPLICIT_DENY = "implicit deny"
    """No statement allows it."""
    EXPLICIT_DENY = "explicit deny"
    """A statement denies it."""


def decide(policy: Policy | None, *, action: str, resource: str, lookup: keys.Lookup) -> Decision:
    """Decide about one action, as `connect:DescribeEmailAddress`, on a resource: an ARN, or "*" for none.

    A `policy` of None is one that could not be read: it allows nothing. `lookup` is asked for a key only if a
    statement about this action and resource needs it, and once at most.
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


_OF_ONE_RESOURCE = ("aws:resourcetag/", "connect:instanceid")
"""How condition keys begin that are facts of one resource."""


class _DependsOnTheResourceError(Exception):
    """A statement asks for a fact of one resource, and the action is about many."""


def decide_for_all(policy: Policy | None, *, action: str, lookup: keys.Lookup) -> Decision:
    """Decide about one action, as `waypost:Inspect`, that reaches all resources of an account at once.

    A Deny counts whatever resources it names, because the action may reach one of them; also where it has a condition
    on a fact of one resource. An Allow counts only if it is for all resources, whatever their facts; so one with
    NotResource does not. `lookup` is asked for no fact of a resource.
    """

    def of_no_resource(key: str) -> tuple[str, ...] | None:
        if key.startswith(_OF_ONE_RESOURCE):
            raise _DependsOnTheResourceError
        return lookup(key)

    for statement in policy.denials if policy else ():
        if _denies_some(statement, action, of_no_resource):
            return Decision.EXPLICIT_DENY
    for statement in policy.permissions if policy else ():
        try:
            if not statement.other_resources and _applies(statement, action, "*", of_no_resource, doubtful=False):
                return Decision.ALLOWED
        except _DependsOnTheResourceError:
            continue
    return Decision.IMPLICIT_DENY


def _denies_some(statement: Statement, action: str, lookup: keys.Lookup) -> bool:
    """Whether a Deny may apply to an action on one resource or more."""
    if not _is_about(statement, action):
        return False
    for condition in statement.conditions:
        try:
            if not condition.holds(lookup, doubtful=True):
                return False
        except _DependsOnTheResourceError:  # it may hold for one
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
