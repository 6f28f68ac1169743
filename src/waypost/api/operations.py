"""The operations, one row each: what runs, on which resource it has to be allowed, and which ids it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from waypost.api import calls, email_addresses, instances, tags
from waypost.api.calls import Call, Output
from waypost.app import aliases, ports
from waypost.app.tags import Resource
from waypost.domain.instances import Tenant

On = Callable[[Call], Resource | None]
"""The resource that a policy must allow the operation on; None where any will do ("*")."""

Ids = Callable[[Any, Tenant], Any]
"""Makes ids of what a call was given as ids, or refuses it."""


def any_resource(_: Call) -> None:
    """For an operation on no resource that exists yet, or on all."""


def instance(call: Call) -> Resource:
    """The instance that the call names."""
    return Resource(call.members.instance_id)


def email_address(call: Call) -> Resource:
    """The path's email address. The alias is not asked about: AWS names but one resource for Associate, too."""
    return Resource(call.members.instance_id, call.members.email_address_id)


def as_given(members: Any, _: Tenant) -> Any:
    """The members, for an operation that names neither an instance nor an email address by its id."""
    return members


@dataclass(frozen=True, slots=True)
class Read:
    """An operation that changes nothing, by one look-up or a few."""

    run: Callable[[ports.ReadTx, Call], Output]
    on: On
    ids: Ids


@dataclass(frozen=True, slots=True)
class Search:
    """An operation that changes nothing and may read much."""

    run: Callable[[ports.ReadTx, Call], Output]
    on: On
    ids: Ids


@dataclass(frozen=True, slots=True)
class Write:
    """An operation that changes something."""

    run: Callable[[ports.WriteTx, Call], Output]
    on: On
    ids: Ids


Operation = Read | Search | Write

_associate = email_addresses.link_operation(aliases.associate)
_disassociate = email_addresses.link_operation(aliases.disassociate)

OPERATIONS: Mapping[str, Operation] = {
    "AssociateEmailAddressAlias": Write(_associate, email_address, calls.ids_or_arns),
    "CreateEmailAddress": Write(email_addresses.create, instance, calls.ids_or_arns),
    "CreateInstance": Write(instances.create, any_resource, as_given),
    "DeleteEmailAddress": Write(email_addresses.delete, email_address, calls.ids_or_arns),
    "DeleteInstance": Write(instances.delete, instance, calls.ids_only),
    "DescribeEmailAddress": Read(email_addresses.describe, email_address, calls.ids_or_arns),
    "DescribeInstance": Read(instances.describe, instance, calls.ids_only),
    "DisassociateEmailAddressAlias": Write(_disassociate, email_address, calls.ids_or_arns),
    "ListInstances": Read(instances.page, any_resource, as_given),
    "ListTagsForResource": Read(tags.listed, tags.resource, as_given),
    "SearchEmailAddresses": Search(email_addresses.search, instance, calls.ids_or_arns),
    "TagResource": Write(tags.add, tags.resource, as_given),
    "UntagResource": Write(tags.remove, tags.resource, as_given),
    "UpdateEmailAddressMetadata": Write(email_addresses.update_metadata, email_address, calls.ids_or_arns),
}
"""All operations of the model."""
