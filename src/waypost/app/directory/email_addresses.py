"""Email addresses: create, describe, search, update, delete."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from waypost.app import ports
from waypost.app.directory import idempotency, instances
from waypost.domain import errors
from waypost.domain.directory import addresses, search
from waypost.domain.directory import tags as tagging
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant

DOMAIN_HOLDS = 1024
"""The number of locks for domains; several domains share one. A lock's name stays in the store for ever, so there are
few."""


@dataclass(frozen=True, slots=True)
class Domains:
    """The settings of domains, each as A-labels."""

    shared: frozenset[str] = frozenset()
    """Domains in which every account may have email addresses; `*` for all."""
    subaddressed: frozenset[str] = frozenset()
    """Domains where mail for support+x@ is for support@, if there is no support+x@."""
    owner: str = ""
    """The account of the server's owner."""
    of_server: frozenset[str] = frozenset()
    """Domains of the server itself: its host name, and the domain of rewritten senders. They belong to its owner."""

    def are_shared(self, domain: str) -> bool:
        """Whether every account may have email addresses in a domain."""
        return domain in self.shared or (ANY in self.shared and domain not in self.of_server)


ANY = "*"
"""In the shared domains: every domain, except those of the server itself."""

ONE_ACCOUNT_EACH = Domains()


def create(
    tx: ports.WriteTx,
    tenant: Tenant,
    email_address: EmailAddress,
    *,
    tags: Mapping[str, str],
    quota: int | None = None,
    domains: Domains = ONE_ACCOUNT_EACH,
    call: idempotency.TokenedCall | None = None,
) -> str:
    """Create an email address in an instance of the tenant, as of its `created_at`; returns its id.

    `quota` is the limit for an instance, None for no limit. Raises `errors.NotFound` for the instance,
    `errors.Conflict` if the domain is another account's, `errors.Duplicate` if the address exists anywhere in this
    deployment, `errors.QuotaExceeded`, `errors.Invalid` for a tag, `errors.TokenReused`.
    """
    tagging.refuse_reserved(tags)

    def effect() -> str:
        own_instance = instances.get if quota is None else instances.lock  # so that two do not take the last place
        own_instance(tx, tenant, email_address.instance_id)
        _refuse_domain_of_another(tx, tenant.account, email_address.address, domains)
        if tx.email_address_by_key(email_address.address.key):
            raise errors.Duplicate(
                f"Email address {email_address.address} exists already. Mail to an address has one owner, "
                "so it can be created once only."
            )
        if quota is not None and tx.count_email_addresses(email_address.instance_id, up_to=quota) >= quota:
            raise errors.QuotaExceeded(
                f"Instance {email_address.instance_id} has {quota} email addresses, which is its quota. "
                "Delete one that is not needed, or have the quota raised."
            )
        tx.add_email_address(email_address, tags)
        return email_address.id

    return idempotency.once(tx, call, now=email_address.created_at, effect=effect)


def _refuse_domain_of_another(tx: ports.WriteTx, account: str, address: addresses.Address, domains: Domains) -> None:
    """Raise `errors.Conflict` if the account may not have an email address in this domain, or not this one.

    A domain belongs to the account that has email addresses in it; it is free when the last of them is deleted.
    Accounts that shared a domain before this rule existed keep it, and may add addresses to it.
    """
    domain = address.key.rpartition("@")[2]
    for base in addresses.owner_keys(address, domains.subaddressed)[1:]:
        has_its_mail = tx.email_address_by_key(base)
        if has_its_mail and has_its_mail.account != account:
            raise errors.Conflict(f"Mail for {address} goes to another account, because {domain} has subaddresses.")
    if domains.are_shared(domain):
        return
    # Accounts come into a domain one after the other. An account that is there waits for nobody, but one that comes
    # waits for it: else it could come in while the last address of that account is deleted, and another one is made.
    name = f"domain {zlib.crc32(domain.encode()) % DOMAIN_HOLDS}"
    if tx.keep_domain(account, domain, name=name):
        return
    tx.hold(name)
    if tx.has_address_in(account, domain):
        return
    if domain in domains.of_server and account != domains.owner:
        raise errors.Conflict(
            f"Domain {domain} is one of this server itself, so only its owner has email addresses there. Use another "
            "domain, or have whoever runs this server name it in --shared-domains."
        )
    if tx.others_have_address_in(account, domain):
        raise errors.Conflict(
            f"Domain {domain} belongs to another account, which has email addresses in it. Use another domain, or have "
            "whoever runs this server name it in --shared-domains."
        )


def describe(tx: ports.ReadTx, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description:
    """An email address, its alias link and its tags. Raises `errors.NotFound`, naming which is missing."""
    description = tx.description(tenant, instance_id, email_address_id)
    if description is None:
        instances.get(tx, tenant, instance_id)
        raise not_found(instance_id, email_address_id)
    return description


def search_page(
    tx: ports.ReadTx,
    tenant: Tenant,
    instance_id: str,
    condition: search.Condition,
    *,
    after: str | None,
    limit: int,
    count_up_to: int,
) -> ports.SearchPage:
    """Up to `limit` email addresses of an instance that match a condition, starting after the cursor `after`.

    The total is counted no further than `count_up_to`. Raises `errors.NotFound` for the instance.
    """
    page = tx.search(tenant, instance_id, condition, after=after, limit=limit, count_up_to=count_up_to)
    if page is None:
        raise instances.not_found(tenant, instance_id)
    return page


def update_metadata(
    tx: ports.WriteTx,
    tenant: Tenant,
    instance_id: str,
    email_address_id: str,
    *,
    display_name: str | None,
    description: str | None,
    now: datetime,
    call: idempotency.TokenedCall | None = None,
) -> str:
    """Change the texts of an email address; a text that is None stays as it is. Returns its id.

    Alias links stay. Raises `errors.NotFound`, naming which is missing, and `errors.TokenReused`.
    """

    def effect() -> str:
        (before,) = lock(tx, tenant, instance_id, email_address_id)
        after = before.with_texts(display_name=display_name, description=description, now=now)
        if after != before:
            tx.update_email_address(after)
        return email_address_id

    return idempotency.once(tx, call, now=now, effect=effect)


def delete(tx: ports.WriteTx, tenant: Tenant, instance_id: str, email_address_id: str) -> None:
    """Delete an email address and its alias link, on either side; delivered mail stays.

    Raises `errors.NotFound`, naming which is missing.
    """
    lock(tx, tenant, instance_id, email_address_id)
    tx.remove_email_address(email_address_id)


def lock(tx: ports.WriteTx, tenant: Tenant, instance_id: str, *ids: str) -> list[EmailAddress]:
    """Hold email addresses of an instance for this transaction; returns them in the order of `ids`.

    They are locked in one order, whatever order they are named in, so that no two calls deadlock. Raises
    `errors.NotFound`, naming which is missing, and `errors.Busy`.
    """
    held = tx.lock_email_addresses(tenant, instance_id, sorted(set(ids)))
    for email_address_id in ids:
        if email_address_id not in held:
            instances.get(tx, tenant, instance_id)
            raise not_found(instance_id, email_address_id)
    return [held[email_address_id] for email_address_id in ids]


def not_found(instance_id: str, email_address_id: str) -> errors.NotFound:
    """The error for an email address that is not in this instance."""
    return errors.NotFound(f"Email address {email_address_id} was not found in instance {instance_id}.")
