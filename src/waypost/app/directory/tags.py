"""List, add and remove the tags of instances and email addresses."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from waypost.app import ports
from waypost.app.directory import email_addresses, instances
from waypost.domain.directory import tags
from waypost.domain.directory.instances import Tenant


class Resource(Struct, frozen=True):
    """A resource that can have tags: an instance, or an email address in an instance."""

    instance_id: str
    email_address_id: str | None = None

    @property
    def id(self) -> str:
        """The id of the email address, or of the instance if the resource is an instance."""
        return self.email_address_id or self.instance_id


def of(tx: ports.ReadTx, tenant: Tenant, resource: Resource) -> Mapping[str, str]:
    """Return the tags of a resource. Raises `errors.NotFound`, which names the missing resource, if the resource or its
    instance does not exist.
    """
    if resource.email_address_id is None:
        _, found = instances.describe(tx, tenant, resource.instance_id)
        return found
    return email_addresses.describe(tx, tenant, resource.instance_id, resource.email_address_id).tags


def add(tx: ports.WriteTx, tenant: Tenant, resource: Resource, new: Mapping[str, str]) -> None:
    """Add tags to a resource. If the resource already has a tag with the same key, the tag gets the new value.

    Raises `errors.NotFound` if the resource does not exist, and `errors.Invalid` if a key is reserved or if the
    resource would have too many tags.
    """
    _lock(tx, tenant, resource)
    tags.check_together(of(tx, tenant, resource), new)
    tx.put_tags(resource.id, new)


def remove(tx: ports.WriteTx, tenant: Tenant, resource: Resource, keys: Sequence[str]) -> None:
    """Remove tags from a resource; keys that the resource does not have are ignored. Raises `errors.NotFound`."""
    _lock(tx, tenant, resource)
    tx.remove_tags(resource.id, keys)


def _lock(tx: ports.WriteTx, tenant: Tenant, resource: Resource) -> None:
    """Lock a resource, so that two calls do not change its tags at the same time. Raises `errors.NotFound`."""
    if resource.email_address_id is None:
        instances.lock(tx, tenant, resource.instance_id)
    else:
        email_addresses.lock(tx, tenant, resource.instance_id, resource.email_address_id)
