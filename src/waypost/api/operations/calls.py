"""One call to an API operation, with its caller, its input, and values that are known only to the API layer."""

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
"""The members of a response, keyed by their names in the model. A member whose value is None is left out of the
response.
"""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The settings and functions that all calls of a deployment share."""

    new_id: Callable[[], str]
    """A function that returns an id for a new resource."""
    page_tokens: PageTokens
    token_retention: timedelta
    """How long the store keeps a client token."""
    email_address_quota: int | None
    """The maximum number of email addresses per instance; None means no limit."""
    domains: Domains = ONE_ACCOUNT_EACH


class Source(msgspec.Struct, frozen=True):
    """The client's IP address, and whether the connection uses TLS."""

    ip: str
    is_secure: bool
    """Whether the call arrived over TLS."""


class Call(msgspec.Struct, frozen=True):
    """One call. `members` is an instance of the operation's input type, which is compiled from the model."""

    operation: str
    tenant: Tenant
    key: AccessKey
    source: Source
    request: Request
    members: Any
    now: datetime
    terms: Terms


def tokened(call: Call) -> idempotency.TokenedCall | None:
    """Return the data by which a repetition of the call is recognised, or None if the call has no client token.

    An empty client token is treated as missing.
    """
    token = call.members.client_token
    if not token:
        return None
    key = ports.CallKey(call.tenant, call.operation, getattr(call.members, "instance_id", ""), token)
    return idempotency.TokenedCall(key, fingerprint(call.members, without=("ClientToken",)), call.terms.token_retention)


def fingerprint(members: Any, *, without: tuple[str, ...]) -> bytes:
    """Return a digest of all members of a call except those named in `without`.

    Requests with equal members have the same digest, even if their JSON differs in order or formatting.
    """
    kept = msgspec.to_builtins(members)
    for name in without:
        kept.pop(name, None)
    return hashlib.sha256(msgspec.json.encode(kept, order="deterministic")).digest()


def query_of(call: Call) -> bytes:
    """Return bytes that identify the call's query, so that a page token is accepted only in a call with the same query.

    The bytes cover the operation, the tenant, and all members except MaxResults and NextToken.
    """
    scope = f"{call.operation} {call.tenant.account} {call.tenant.region} ".encode()
    return scope + fingerprint(call.members, without=("NextToken", "MaxResults"))


def ids_or_arns(members: Any, tenant: Tenant) -> Any:
    """Return the members of a call, with each ARN replaced by the id that it contains. This function is used for
    operations that accept both ids and ARNs (docs/aws-differences.md).

    Raises `errors.Invalid` for an ARN of the wrong type, and `errors.NotFound` for an ARN of another region or account.
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
    """Return the members unchanged. This function is used for operations that accept the id of an instance, but not its
    ARN.

    Raises `errors.Invalid` for an ARN, because Amazon Connect has been observed to refuse ARNs in operations on
    instances.
    """
    if members.instance_id.startswith("arn:"):
        raise errors.Invalid("Invalid input for field InstanceId: it must be an id, not an ARN.")
    return members
