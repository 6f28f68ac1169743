"""Create and remove alias links between email addresses."""

from datetime import datetime

from waypost.app import ports
from waypost.app.directory import email_addresses, idempotency
from waypost.domain.directory import aliases
from waypost.domain.directory.instances import Tenant


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
    """Make one email address the alias of another email address in the same instance.

    Raises `errors.NotFound`, which names the missing resource, if the instance or an email address does not exist.
    Raises `errors.Invalid` if both ids are the same, and `errors.Conflict` if one of the email addresses already has an
    alias link. Raises `errors.TokenReused` if the client token was used for a different call.
    """

    def effect() -> str:
        links = email_addresses.lock_with_links(tx, tenant, instance_id, primary_id, alias_id)
        link = aliases.associate(
            primary_id, alias_id, link_of_primary=links[primary_id], link_of_alias=links[alias_id], now=now
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
    """Remove the alias link between the primary and the alias. The destinations of mail that was already accepted do
    not change.

    Raises `errors.NotFound` if the instance, an email address or the alias link does not exist, and
    `errors.TokenReused` if the client token was used for a different call.
    """

    def effect() -> str:
        links = email_addresses.lock_with_links(tx, tenant, instance_id, primary_id, alias_id)
        tx.remove_link(aliases.disassociate(primary_id, alias_id, link_of_primary=links[primary_id]))
        return ""

    idempotency.once(tx, call, now=now, effect=effect)
