"""Create, describe, list and delete instances."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.app.directory import idempotency
from waypost.domain import errors
from waypost.domain.directory import tags as tagging
from waypost.domain.directory.instances import ALIAS_IS_USED, Instance, Tenant

OLDEST_AMONG = 1_000
"""The maximum number of instances that are read to find the oldest instance. The limit is ample, because AWS allows
only two instances in a region.
"""


REMOVED_AT_ONCE = 10
"""The maximum number of email addresses that one transaction removes with their instance. SQLite needs about 0.1 ms for
each, and other writers wait for the transaction.
"""


class Page(Struct, frozen=True):
    """A page of instances, and the id after which the next page begins; the id is None on the last page."""

    instances: list[Instance]
    next_after: str | None


def create(
    tx: ports.WriteTx,
    instance: Instance,
    *,
    tags: Mapping[str, str],
    call: idempotency.TokenedCall | None = None,
) -> str:
    """Create the instance, and return its id. `instance.created_at` is used as the time of the call.

    Raises `errors.Duplicate` if the instance alias is already in use, `errors.Invalid` for an invalid tag, and
    `errors.TokenReused` if the client token was used for a different call.
    """
    tagging.refuse_reserved(tags)

    def effect() -> str:
        if instance.alias and tx.has_instance_alias(instance.alias):
            raise errors.Duplicate(ALIAS_IS_USED)
        tx.add_instance(instance, tags)
        return instance.id

    return idempotency.once(tx, call, now=instance.created_at, effect=effect)


def get(tx: ports.ReadTx, tenant: Tenant, instance_id: str) -> Instance:
    """Return the tenant's instance with this id. Raises `errors.NotFound`."""
    instance = tx.instance(tenant, instance_id)
    if instance is None:
        raise not_found(tenant, instance_id)
    return instance


def keep(tx: ports.WriteTx, tenant: Tenant, instance_id: str) -> Instance:
    """Return the tenant's instance with this id. Until the transaction ends, no other transaction can delete it.

    Raises `errors.NotFound` and `errors.Busy`.
    """
    instance = tx.keep_instance(tenant, instance_id)
    if instance is None:
        raise not_found(tenant, instance_id)
    return instance


def lock(tx: ports.WriteTx, tenant: Tenant, instance_id: str) -> Instance:
    """Lock the tenant's instance until the transaction ends. Raises `errors.NotFound` and `errors.Busy`."""
    instance = tx.lock_instance(tenant, instance_id)
    if instance is None:
        raise not_found(tenant, instance_id)
    return instance


def not_found(tenant: Tenant, instance_id: str) -> errors.NotFound:
    """Return the error for an instance that does not exist in the tenant's account and region."""
    return errors.NotFound(
        f"Instance {instance_id} was not found in account {tenant.account} in region {tenant.region}."
    )


def describe(tx: ports.ReadTx, tenant: Tenant, instance_id: str) -> tuple[Instance, Mapping[str, str]]:
    """Return the tenant's instance with this id, and its tags. Raises `errors.NotFound`."""
    instance = get(tx, tenant, instance_id)
    return instance, tx.instance_tags(tenant, instance_id)


def page(tx: ports.ReadTx, tenant: Tenant, *, after: str, limit: int) -> Page:
    """Return up to `limit` instances of the tenant, sorted by id, starting after the id `after`."""
    found = tx.instances(tenant, after=after, limit=limit + 1)
    more = len(found) > limit
    return Page(found[:limit], found[limit - 1].id if more else None)


def oldest(tx: ports.ReadTx, tenant: Tenant) -> Instance | None:
    """Return the tenant's oldest instance, which commands use by default."""
    found = tx.instances(tenant, after="", limit=OLDEST_AMONG)
    return min(found, key=lambda instance: instance.created_at, default=None)


def delete(
    tx: ports.WriteTx,
    tenant: Tenant,
    instance_id: str,
    *,
    now: datetime,
    call: idempotency.TokenedCall | None = None,
) -> None:
    """Delete an instance with its email addresses and their alias links, but keep its delivered mail.

    After this transaction, neither the API nor incoming mail finds the instance or its email addresses. If there are
    more than `REMOVED_AT_ONCE` email addresses, further transactions remove their rows (`remove_deleted`). Raises
    `errors.NotFound`, `errors.Busy` and `errors.TokenReused`.
    """

    def effect() -> str:
        instance = lock(tx, tenant, instance_id)
        tx.mark_instance_deleted(instance.id, now=now)
        tx.remove_rows_of_instance(instance.id, limit=REMOVED_AT_ONCE)
        return ""

    idempotency.once(tx, call, now=now, effect=effect)


def remove_deleted(tx: ports.WriteTx) -> bool:
    """Remove up to `REMOVED_AT_ONCE` email addresses of one deleted instance, or the instance itself after its last
    email address. Returns whether anything was removed, so that the caller must run this step again.
    """
    instance_id = tx.lock_deleted_instance()
    return instance_id is not None and tx.remove_rows_of_instance(instance_id, limit=REMOVED_AT_ONCE)
