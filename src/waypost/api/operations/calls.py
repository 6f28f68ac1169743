"""One call of an operation, as the operations see it: the caller, the input, and what only the edge knows."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from waypost.api.operations import arns
from waypost.api.operations.page_tokens import PageTokens
from waypost.api.wire.http import Request
from waypost.app import ports
from waypost.app.directory import idempotency
from waypost.app.directory.email_addresses import ONE_ACCOUNT_EACH, Domains
from waypost.domain import errors
from waypost.domain.directory.instances import Tenant
from waypost.domain.iam.access_keys import AccessKey

Output = Mapping[str, Any]
"""The members of an answer by their names in the model; None is left out."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Values that are the same for every call of this deployment."""

    new_id: Callable[[], str]
    """Makes the id of a resource, for a call that creates one."""
    page_tokens: PageTokens
    token_retention: timedelta
    """How long a client token is remembered."""
    email_address_quota: int | None
    """Email addresses that an instance may have; None for any number."""
    domains: Domains = ONE_ACCOUNT_EACH


class Source(msgspec.Struct, frozen=True):
    """Where a call comes from."""

    ip: str
    is_secure: bool
    """Whether it came over TLS."""


class Call(msgspec.Struct, frozen=True):
    """One call. `members` is the operation's input type, as compiled from the model."""

    operation: str
    tenant: Tenant
    key: AccessKey
    source: Source
    request: Request
    members: Any
    now: datetime
    terms: Terms


def tokened(call: Call) -> idempotency.TokenedCall | None:
    """The call as it is kept for its client token, or None without one; an empty token counts as none."""
    token = call.members.client_token
    if not token:
        return None
    key = ports.CallKey(call.tenant, call.operation, getattr(call.members, "instance_id", ""), token)
    return idempotency.TokenedCall(key, fingerprint(call.members, without=("ClientToken",)), call.terms.token_retention)


def fingerprint(members: Any, *, without: tuple[str, ...]) -> bytes:
    """A digest of the members, except some: it is the same for the same request, however it was spelled."""
    kept = msgspec.to_builtins(members)
    for name in without:
        kept.pop(name, None)
    return hashlib.sha256(msgspec.json.encode(kept, order="deterministic")).digest()


def query_of(call: Call) -> bytes:
    """The members that must be the same in the call for the next page: all but MaxResults and NextToken."""
    scope = f"{call.operation} {call.tenant.account} {call.tenant.region} ".encode()
    return scope + fingerprint(call.members, without=("NextToken", "MaxResults"))


def ids_or_arns(members: Any, tenant: Tenant) -> Any:
    """The members with ids only, for an operation that takes ARNs in their place (docs/aws-differences.md).

    Raises `errors.Invalid` or `errors.NotFound` for an ARN of another kind, region or account.
    """
    changes: dict[str, Any] = {}
    instance_id = arns.instance_id_of(members.instance_id, tenant)
    if instance_id is not members.instance_id:
        changes["instance_id"] = instance_id
    own_id = getattr(members, "email_address_id", None)
    if own_id and own_id.startswith("arn:"):
        changes["email_address_id"] = arns.email_address_id_of(own_id, tenant, instance_id)
    alias = getattr(members, "alias_configuration", None)
    if alias and alias.email_address_id.startswith("arn:"):
        alias_id = arns.email_address_id_of(alias.email_address_id, tenant, instance_id)
        changes["alias_configuration"] = msgspec.structs.replace(alias, email_address_id=alias_id)
    return msgspec.structs.replace(members, **changes) if changes else members


def ids_only(members: Any, _: Tenant) -> Any:
    """The members, for an operation on an instance, where an ARN is refused as Amazon Connect was seen to do."""
    if members.instance_id.startswith("arn:"):
        raise errors.Invalid("Invalid input for field InstanceId: an id is wanted here, not an ARN.")
    return members
