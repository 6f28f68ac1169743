"""Authorises calls by evaluating the IAM policy of the caller's access key for each request.

Source: "Actions, resources, and condition keys for Amazon Connect" in the Service Authorization Reference.
`domain.iam.facts` defines the condition keys that are present in every call.
"""

from collections.abc import Mapping
from functools import lru_cache

from waypost.api.errors import ApiError
from waypost.api.operations import arns, searching
from waypost.api.operations.calls import Call
from waypost.app import ports
from waypost.app.directory import tags
from waypost.domain import errors
from waypost.domain.iam import access_keys, decisions
from waypost.domain.iam.decisions import Decision
from waypost.domain.iam.facts import Circumstances


def authorise(tx: ports.ReadTx, call: Call, resource: tags.Resource | None) -> None:
    """Raise an `ApiError` with the code AccessDeniedException unless the caller's policy allows the call on the
    resource.
    """
    action = f"connect:{call.operation}"
    arn = arns.of(call.tenant, resource) if resource else "*"
    policy = call.key.policy
    if policy is not None and not policy.keys:
        decision = _decision_without_facts(call.key.document, action, arn)
    else:
        decision = decisions.decide(policy, action=action, resource=arn, lookup=_Facts(tx, call, resource).look_up)
    if decision is not Decision.ALLOWED:
        raise ApiError("AccessDeniedException", 403, _denied(call, action, arn, decision))


@lru_cache(maxsize=4096)
def _decision_without_facts(document: str, action: str, arn: str) -> Decision:
    """Evaluate a policy that uses no condition key. The decision is cached, because it depends on nothing else."""
    return decisions.decide(access_keys.policy_of(document), action=action, resource=arn, lookup=_no_fact)


def _no_fact(_: str) -> None:
    """Return None. A policy that uses no condition key never calls this function."""


def may_depend_on_the_store(call: Call) -> bool:
    """Return whether the policy decision on the call may depend on data in the store."""
    if call.key.allows_all:
        return False
    policy = call.key.policy
    return policy is not None and policy.mentions("aws:resourcetag/")


def _denied(call: Call, action: str, arn: str, decision: Decision) -> str:
    user = _circumstances(call).user_arn
    because = (
        "with an explicit deny in an identity-based policy"
        if decision is Decision.EXPLICIT_DENY
        else f"because no identity-based policy allows the {action} action"
    )
    return f"User: {user} is not authorized to perform: {action} on resource: {arn} {because}"


def _circumstances(call: Call) -> Circumstances:
    return Circumstances(
        key=call.key,
        tenant=call.tenant,
        ip=call.source.ip,
        is_secure=call.source.is_secure,
        user_agent=call.request.header("user-agent") or "",
        now=call.now,
    )


class _Facts:
    """The values of a call's condition keys. A condition key is looked up only if the policy uses it."""

    def __init__(self, tx: ports.ReadTx, call: Call, resource: tags.Resource | None) -> None:
        self._tx = tx
        self._call = call
        self._resource = resource

    def look_up(self, key: str) -> tuple[str, ...] | None:
        """Return the values of a condition key, or None if the key has no values in this call.

        The condition key is in lower case, except for the tag key after a slash.
        """
        name, slash, tag = key.partition("/")
        if slash:
            return _tag_values(self._tags(name), tag)
        if name == "aws:tagkeys":
            return self._tag_keys()
        if name == "connect:instanceid":
            return (self._resource.instance_id,) if self._resource else None
        return _circumstances(self._call).look_up(name)

    def _tags(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Return the tags to which a condition key such as `aws:resourcetag/Team` refers; `name` is the part before the
        slash.
        """
        members = self._call.members
        match name:
            case "aws:resourcetag" if self._resource:
                try:
                    found = tags.of(self._tx, self._call.tenant, self._resource)
                except errors.NotFound:  # if the policy allows the call, the operation reports this error
                    return {}
                return {key: (value,) for key, value in found.items()}
            case "aws:requesttag":
                return {key: (value,) for key, value in (getattr(members, "tags", None) or {}).items()}
            case "connect:searchtag":
                return searching.tag_values(getattr(members, "search_filter", None))
        return {}

    def _tag_keys(self) -> tuple[str, ...] | None:
        members = self._call.members
        given = getattr(members, "tags", None) or getattr(members, "tag_keys", None)
        return tuple(given) if given else None


def _tag_values(values: Mapping[str, tuple[str, ...]], tag: str) -> tuple[str, ...] | None:
    """Return the values of all tags whose key equals `tag`, ignoring case.

    Policies compare tag keys without regard to case, and a resource can have several tag keys that differ only in case.
    """
    wanted = tag.lower()
    found = {value for key, of_key in values.items() if key.lower() == wanted for value in of_key}
    return tuple(sorted(found)) or None
