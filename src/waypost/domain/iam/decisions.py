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


def _applies(statement: Statement, action: str, resource: str, lookup: keys.Lookup, *, doubtful: bool) -> bool:
    names = statement.actions
    if names is not None and (names.fullmatch(action) is None) is not statement.other_actions:
        return False
    if statement.resources is not None:
        is_named = any(pattern.matches(resource, lookup) for pattern in statement.resources)
        if is_named is statement.other_resources:
            return False
    return all(condition.holds(lookup, doubtful=doubtful) for condition in statement.conditions)
