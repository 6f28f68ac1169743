"""The operations, one row each: the function, the resources that the policy must allow it on, and the ids that it
takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from waypost.api.operations import calls, email_addresses, instances, tags
from waypost.api.operations.calls import Call, Output
from waypost.app.directory import aliases
from waypost.app.directory.tags import Resource
from waypost.domain.directory.instances import Tenant

ResourceOf = Callable[[Call], Resource | None]
"""The resource that a policy must allow the operation on; None stands for "*"."""

WithIds = Callable[[Any, Tenant], Any]
"""Turns the ids or ARNs of a call into ids, or refuses them."""


def any_resource(_: Call) -> None:
    """For an operation on all resources, or on one that does not exist yet."""


def instance(call: Call) -> Resource:
    """The instance that the call names."""
    return Resource(call.members.instance_id)


def email_address(call: Call) -> Resource:
    """The path's email address."""
    return Resource(call.members.instance_id, call.members.email_address_id)


def alias(call: Call) -> Resource:
    """The email address that is, or becomes, an alias. Its mail goes to the primary, so the policy must allow the
    operation on it, too.
    """
    _, alias_id = email_addresses.primary_and_alias(call.members)
    return Resource(call.members.instance_id, alias_id)


def as_given(members: Any, _: Tenant) -> Any:
    """The members, for an operation that names neither an instance nor an email address by its id."""
    return members


class Access(Enum):
    """How an operation uses the store."""

    LOOK_UP = "look up"
    """It only reads, with a few look-ups."""
    SEARCH = "search"
    """It only reads, but may read much."""
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: a function of a transaction and the call."""

    run: Callable[[Any, Call], Output]
    access: Access
    resource_of: ResourceOf
    with_ids: WithIds
    others: tuple[ResourceOf, ...] = ()
    """The other resources whose ids the input has. The policy must allow the operation on each, after the first."""

    def resources_of(self, call: Call) -> list[Resource | None]:
        """All resources that the policy must allow the operation on, in the order in which they are checked."""
        return [self.resource_of(call), *[of(call) for of in self.others]]


LOOK_UP, SEARCH, WRITE = Access

_associate = email_addresses.link_operation(aliases.associate)
_disassociate = email_addresses.link_operation(aliases.disassociate)

OPERATIONS: Mapping[str, Operation] = {
    "AssociateEmailAddressAlias": Operation(_associate, WRITE, email_address, calls.ids_or_arns, (alias,)),
    "CreateEmailAddress": Operation(email_addresses.create, WRITE, instance, calls.ids_or_arns),
    "CreateInstance": Operation(instances.create, WRITE, any_resource, as_given),
    "DeleteEmailAddress": Operation(email_addresses.delete, WRITE, email_address, calls.ids_or_arns),
    "DeleteInstance": Operation(instances.delete, WRITE, instance, calls.ids_only),
    "DescribeEmailAddress": Operation(email_addresses.describe, LOOK_UP, email_address, calls.ids_or_arns),
    "DescribeInstance": Operation(instances.describe, LOOK_UP, instance, calls.ids_only),
    "DisassociateEmailAddressAlias": Operation(_disassociate, WRITE, email_address, calls.ids_or_arns, (alias,)),
    "ListInstances": Operation(instances.page, LOOK_UP, any_resource, as_given),
    "ListTagsForResource": Operation(tags.listed, LOOK_UP, tags.resource, as_given),
    "SearchEmailAddresses": Operation(email_addresses.search, SEARCH, instance, calls.ids_or_arns),
    "TagResource": Operation(tags.add, WRITE, tags.resource, as_given),
    "UntagResource": Operation(tags.remove, WRITE, tags.resource, as_given),
    "UpdateEmailAddressMetadata": Operation(email_addresses.update_metadata, WRITE, email_address, calls.ids_or_arns),
}
"""All operations of the model."""
