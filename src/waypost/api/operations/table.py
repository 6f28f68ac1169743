"""The table of operations. For each operation, the table lists the function that implements it, the resources on which
a policy must allow it, and whether it accepts ids, ARNs or both.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from waypost.api.operations import calls, email_addresses, instances, tags
from waypost.api.operations.calls import Call, Output
from waypost.app.directory import aliases
from waypost.app.directory.tags import Resource
from waypost.domain.directory.instances import Tenant

ResourceOf = Callable[[Call], Resource | None]
"""A function that returns a resource on which the policy must allow the operation; None stands for "*"."""

WithIds = Callable[[Any, Tenant], Any]
"""A function that replaces ARNs in a call's members with ids, or raises an error if the operation does not accept ARNs.
"""


def any_resource(_: Call) -> None:
    """Return None. This function is used for operations that apply to all resources or that create an instance."""


def instance(call: Call) -> Resource:
    """Return the instance that the call names."""
    return Resource(call.members.instance_id)


def email_address(call: Call) -> Resource:
    """Return the email address that the call names in its path."""
    return Resource(call.members.instance_id, call.members.email_address_id)


def alias(call: Call) -> Resource:
    """Return the email address that the call names as the alias.

    The operation changes where mail to the alias goes, so the policy must allow the operation on the alias, too.
    """
    _, alias_id = email_addresses.primary_and_alias(call.members)
    return Resource(call.members.instance_id, alias_id)


def as_given(members: Any, _: Tenant) -> Any:
    """Return the members unchanged. This function is used for operations whose input contains no id of an instance or
    email address.
    """
    return members


class Access(Enum):
    """How an operation uses the store."""

    LOOK_UP = "look up"
    """The operation only reads, and needs only a few lookups."""
    SEARCH = "search"
    """The operation only reads, but may read many rows."""
    WRITE = "write"


class Operation(Struct, frozen=True):
    """One operation. The function `run` performs the operation in a transaction."""

    run: Callable[[Any, Call], Output]
    access: Access
    resource_of: ResourceOf
    with_ids: WithIds
    others: tuple[ResourceOf, ...] = ()
    """Functions that return the other resources that the input names. The policy must also allow the operation on these
    other resources.
    """

    def resources_of(self, call: Call) -> list[Resource | None]:
        """Return all resources on which the policy must allow the operation, in the order of the checks."""
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
"""All operations in the model, by name."""
