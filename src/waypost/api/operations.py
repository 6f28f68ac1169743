"""Operation by operation: from members to a use case, and from its result to members."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from waypost.api import arns
from waypost.app import aliases, email_addresses, idempotency, instances, ports
from waypost.domain import addresses, errors, moments
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.instances import Instance, Tenant

Output = Mapping[str, Any]

INSTANCES_A_PAGE = 10
"""The default and the maximum of ListInstances."""


class Call(msgspec.Struct, frozen=True):
    """One call of an operation: who, what, and the values that only the edge can give."""

    operation: str
    tenant: Tenant
    members: Any
    """The operation's input type, as compiled from the model."""
    now: datetime
    new_id: Callable[[], str]
    """Makes the id of a resource, for a call that creates one."""


@dataclass(frozen=True, slots=True)
class Read:
    """An operation that changes nothing."""

    run: Callable[[ports.ReadTx, Call], Output]


@dataclass(frozen=True, slots=True)
class Write:
    """An operation that changes something."""

    run: Callable[[ports.WriteTx, Call], Output]


def primary_and_alias(members: Any) -> tuple[str, str]:
    """Which id is which in Associate- and DisassociateEmailAddressAlias: `(primary, alias)`.

    The path's EmailAddressId is the primary, `AliasConfiguration.EmailAddressId` the alias: so say the
    descriptions of every field ("which email address will serve as the alias"), and DescribeEmailAddress, which
    lists "email addresses that forward to this primary". Only the prose of the API page's Example 1 reads the
    other way round. Nothing else in Waypost knows.
    """
    return members.email_address_id, members.alias_configuration.email_address_id


def create_instance(tx: ports.WriteTx, call: Call) -> Output:
    """CreateInstance. The instance is active at once: there is nothing here that would take time."""
    members = call.members
    instance = Instance(
        id=call.new_id(),
        tenant=call.tenant,
        alias=members.instance_alias,
        identity_management_type=members.identity_management_type,
        directory_id=members.directory_id,
        inbound_calls_enabled=members.inbound_calls_enabled,
        outbound_calls_enabled=members.outbound_calls_enabled,
        created_at=call.now,
    )
    instance_id = instances.create(tx, instance, tags=members.tags or {}, call=_tokened(call))
    return {"Id": instance_id, "Arn": arns.instance(call.tenant, instance_id)}


def describe_instance(tx: ports.ReadTx, call: Call) -> Output:
    """DescribeInstance."""
    instance, tags = instances.describe(tx, call.tenant, call.members.instance_id)
    return {"Instance": {**_instance_summary(instance), "Tags": tags}}


def list_instances(tx: ports.ReadTx, call: Call) -> Output:
    """ListInstances, in the order of their ids."""
    after = _read_page_token(call.members.next_token)
    limit = call.members.max_results or INSTANCES_A_PAGE
    page = instances.page(tx, call.tenant, after=after, limit=limit)
    next_token = _page_token(page.next_after) if page.next_after else None
    return {
        "InstanceSummaryList": [_instance_summary(instance) for instance in page.instances],
        "NextToken": next_token,
    }


def delete_instance(tx: ports.WriteTx, call: Call) -> Output:
    """DeleteInstance."""
    instances.delete(tx, call.tenant, call.members.instance_id, now=call.now, call=_tokened(call))
    return {}


def create_email_address(tx: ports.WriteTx, call: Call) -> Output:
    """CreateEmailAddress."""
    members = call.members
    email_address = EmailAddress(
        id=call.new_id(),
        instance_id=members.instance_id,
        account=call.tenant.account,
        address=_address(members.email_address),
        display_name=members.display_name,
        description=members.description,
        created_at=call.now,
        modified_at=call.now,
    )
    tags = members.tags or {}
    email_address_id = email_addresses.create(tx, call.tenant, email_address, tags=tags, call=_tokened(call))
    arn = arns.email_address(call.tenant, members.instance_id, email_address_id)
    return {"EmailAddressId": email_address_id, "EmailAddressArn": arn}


def describe_email_address(tx: ports.ReadTx, call: Call) -> Output:
    """DescribeEmailAddress. The primary lists its alias; an alias lists nothing."""
    members = call.members
    found = email_addresses.describe(tx, call.tenant, members.instance_id, members.email_address_id)
    email_address = found.email_address
    alias_id = found.link.alias_of(email_address.id) if found.link else None
    return {
        "EmailAddressId": email_address.id,
        "EmailAddressArn": arns.email_address(call.tenant, email_address.instance_id, email_address.id),
        "EmailAddress": email_address.address.text,
        "DisplayName": email_address.display_name,
        "Description": email_address.description,
        "CreateTimestamp": moments.iso8601(email_address.created_at),
        "ModifiedTimestamp": moments.iso8601(email_address.modified_at),
        "AliasConfigurations": [{"EmailAddressId": alias_id}] if alias_id else [],
        "Tags": found.tags,
    }


def delete_email_address(tx: ports.WriteTx, call: Call) -> Output:
    """DeleteEmailAddress."""
    email_addresses.delete(tx, call.tenant, call.members.instance_id, call.members.email_address_id)
    return {}


def _link_operation(change: Callable[..., None]) -> Callable[[ports.WriteTx, Call], Output]:
    """AssociateEmailAddressAlias or DisassociateEmailAddressAlias, which differ in their use case alone."""

    def run(tx: ports.WriteTx, call: Call) -> Output:
        primary_id, alias_id = primary_and_alias(call.members)
        change(
            tx,
            call.tenant,
            call.members.instance_id,
            primary_id=primary_id,
            alias_id=alias_id,
            now=call.now,
            call=_tokened(call),
        )
        return {}

    return run


OPERATIONS: Mapping[str, Read | Write] = {
    "AssociateEmailAddressAlias": Write(_link_operation(aliases.associate)),
    "CreateEmailAddress": Write(create_email_address),
    "CreateInstance": Write(create_instance),
    "DeleteEmailAddress": Write(delete_email_address),
    "DeleteInstance": Write(delete_instance),
    "DescribeEmailAddress": Read(describe_email_address),
    "DescribeInstance": Read(describe_instance),
    "DisassociateEmailAddressAlias": Write(_link_operation(aliases.disassociate)),
    "ListInstances": Read(list_instances),
}
"""The operations that work. The model knows some more; calling one of those says that it is not here yet."""


def _tokened(call: Call) -> idempotency.TokenedCall | None:
    """The call as its client token knows it, or None if it has none; an empty token is none."""
    if not call.members.client_token:
        return None
    members = msgspec.to_builtins(call.members)
    token = members.pop("ClientToken")
    fingerprint = hashlib.sha256(msgspec.json.encode(members, order="deterministic")).digest()
    key = ports.CallKey(call.tenant, call.operation, members.get("InstanceId", ""), token)
    return idempotency.TokenedCall(key, fingerprint)


def _address(text: str) -> addresses.Address:
    try:
        return addresses.parse(text)
    except errors.Invalid as error:
        raise errors.Invalid(f"EmailAddress is not valid: {error.message}.") from error


def _instance_summary(instance: Instance) -> dict[str, Any]:
    members = {
        "Id": instance.id,
        "Arn": arns.instance(instance.tenant, instance.id),
        "IdentityManagementType": instance.identity_management_type,
        "InstanceAlias": instance.alias,
        "CreatedTime": instance.created_at.timestamp(),
        "InstanceStatus": "ACTIVE",
        "InboundCallsEnabled": instance.inbound_calls_enabled,
        "OutboundCallsEnabled": instance.outbound_calls_enabled,
    }
    return {name: value for name, value in members.items() if value is not None}


def _page_token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _read_page_token(token: str | None) -> str:
    if not token:
        return ""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise errors.Invalid("NextToken is not one that ListInstances returned.") from error
