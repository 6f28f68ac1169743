"""Alias links: associate, disassociate."""

from datetime import datetime

from waypost.app import email_addresses, idempotency, instances, ports
from waypost.domain import aliases
from waypost.domain.instances import Tenant


def associate(
    tx: ports.WriteTx,
    tenant: Tenant,
    instance_id: str,
    *,
    primary_id: str,
    alias_id: str,
    now: datetime,
    call: idempotency.TokenedCall | None = None,
) -> None:
    """Make one email address the alias of another in the same instance.

    Raises `errors.NotFound` naming what is missing, `errors.Invalid` for an address and itself,
    `errors.Conflict` where a link is in the way, `errors.TokenReused`.
    """

    def effect() -> str:
        _lock_both(tx, tenant, instance_id, primary_id, alias_id)
        link = aliases.associate(
            primary_id,
            alias_id,
            link_of_primary=tx.link_of(primary_id),
            link_of_alias=tx.link_of(alias_id),
            now=now,
        )
        tx.add_link(link)
        return ""

    idempotency.once(tx, call, now=now, effect=effect)


def disassociate(
    tx: ports.WriteTx,
    tenant: Tenant,
    instance_id: str,
    *,
    primary_id: str,
    alias_id: str,
    now: datetime,
    call: idempotency.TokenedCall | None = None,
) -> None:
    """End the link between exactly these two. Mail accepted before keeps its destinations.

    Raises `errors.NotFound` for an instance, email address or link that is not there, `errors.TokenReused`.
    """

    def effect() -> str:
        _lock_both(tx, tenant, instance_id, primary_id, alias_id)
        tx.remove_link(aliases.disassociate(primary_id, alias_id, link_of_primary=tx.link_of(primary_id)))
        return ""

    idempotency.once(tx, call, now=now, effect=effect)


def _lock_both(tx: ports.WriteTx, tenant: Tenant, instance_id: str, primary_id: str, alias_id: str) -> None:
    """Hold both email addresses for this transaction; raise `errors.NotFound` for the first that is missing."""
    instances.get(tx, tenant, instance_id)
    held = tx.lock_email_addresses(tenant, instance_id, sorted({primary_id, alias_id}))
    for email_address_id in (primary_id, alias_id):
        if email_address_id not in held:
            raise email_addresses.not_found(instance_id, email_address_id)
