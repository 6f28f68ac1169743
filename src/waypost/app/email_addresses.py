"""Email addresses: create, describe, delete."""

from collections.abc import Mapping

from waypost.app import idempotency, instances, ports
from waypost.domain import errors
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.instances import Tenant


def create(
    tx: ports.WriteTx,
    tenant: Tenant,
    email_address: EmailAddress,
    *,
    tags: Mapping[str, str],
    call: idempotency.TokenedCall | None = None,
) -> str:
    """Create an email address in an instance of the tenant, as of its `created_at`; returns its id.

    Raises `errors.NotFound` for the instance, `errors.Duplicate` if the address exists anywhere in this
    deployment, `errors.TokenReused`.
    """

    def effect() -> str:
        instances.get(tx, tenant, email_address.instance_id)
        if tx.email_address_by_key(email_address.address.key):
            raise errors.Duplicate(
                f"Email address {email_address.address} exists already. Mail to an address has one owner, "
                "so it can be created once only."
            )
        tx.add_email_address(email_address, tags)
        return email_address.id

    return idempotency.once(tx, call, now=email_address.created_at, effect=effect)


def describe(tx: ports.ReadTx, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description:
    """An email address, its alias link and its tags. Raises `errors.NotFound`, naming which is missing."""
    description = tx.description(tenant, instance_id, email_address_id)
    if description is None:
        instances.get(tx, tenant, instance_id)
        raise not_found(instance_id, email_address_id)
    return description


def delete(tx: ports.WriteTx, tenant: Tenant, instance_id: str, email_address_id: str) -> None:
    """Delete an email address and the alias link it is in, on either side; mail already delivered stays.

    Raises `errors.NotFound`, naming which is missing.
    """
    instances.get(tx, tenant, instance_id)
    if not tx.lock_email_addresses(instance_id, [email_address_id]):
        raise not_found(instance_id, email_address_id)
    tx.remove_email_address(email_address_id)


def not_found(instance_id: str, email_address_id: str) -> errors.NotFound:
    """The error for an email address that is not in this instance."""
    return errors.NotFound(f"Email address {email_address_id} was not found in instance {instance_id}.")
