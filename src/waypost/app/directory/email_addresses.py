"""Create, describe, search, update and delete email addresses."""

import zlib
from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.app.directory import idempotency, instances
from waypost.domain import errors
from waypost.domain.directory import addresses, search
from waypost.domain.directory import tags as tagging
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant

DOMAIN_HOLDS = 1024
"""The number of locks for domains. Several domains share one lock. The store never deletes the name of a lock, so a
separate lock for each domain would take an unlimited amount of space.
"""


class Domains(Struct, frozen=True):
    """The settings for domains, such as the domains that all accounts share. Domains are written as A-labels."""

    shared: frozenset[str] = frozenset()
    """Domains in which every account may have email addresses; `*` stands for all domains except the server's own
    domains.
    """
    subaddressed: frozenset[str] = frozenset()
    """Domains in which subaddresses are enabled: mail for support+x@ goes to support@, unless the email address
    support+x@ exists.
    """
    owner: str = ""
    """The account of the server's owner."""
    of_server: frozenset[str] = frozenset()
    """The server's own domains: its host name, and the domain of rewritten senders. The server's own domains belong to
    the server's owner.
    """

    def are_shared(self, domain: str) -> bool:
        """Return whether every account may have email addresses in the domain."""
        return domain in self.shared or (ANY in self.shared and domain not in self.of_server)


ANY = "*"
"""The entry in `Domains.shared` that stands for all domains except the server's own domains."""

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
    """Create an email address in one of the tenant's instances, and return the email address's id.

    `email_address.created_at` is used as the time of the call. `quota` is the maximum number of email addresses in an
    instance; None means no limit. Raises `errors.NotFound` if the instance does not exist, `errors.Conflict` if the
    domain belongs to another account, and `errors.Duplicate` if the address exists anywhere in this deployment. Raises
    `errors.QuotaExceeded` if the instance has reached its quota, `errors.Invalid` for an invalid tag, and
    `errors.TokenReused` if the client token was used for a different call.
    """
    tagging.refuse_reserved(tags)

    def effect() -> str:
        own_instance = instances.keep if quota is None else instances.lock  # the lock makes the quota exact
        own_instance(tx, tenant, email_address.instance_id)
        _refuse_domain_of_another(tx, tenant.account, email_address.address, domains)
        if tx.take_address(email_address.address.key):
            raise errors.Duplicate(
                f"Email address {email_address.address} already exists. An address has one owner, so it can be created "
                "only once."
            )
        if quota is not None and tx.count_email_addresses(email_address.instance_id, up_to=quota) >= quota:
            raise errors.QuotaExceeded(
                f"Instance {email_address.instance_id} has reached its quota of {quota} email addresses. "
                "Delete an email address that is not needed, or ask the operator to raise the quota."
            )
        tx.add_email_address(email_address, tags)
        return email_address.id

    return idempotency.once(tx, call, now=email_address.created_at, effect=effect)


def _refuse_domain_of_another(tx: ports.WriteTx, account: str, address: addresses.Address, domains: Domains) -> None:
    """Raise `errors.Conflict` if the address's mail goes to another account, or if the account may not have any email
    address in the domain.

    A domain belongs to the account that has email addresses in it. A domain becomes free when the last email address in
    it is deleted. If several accounts shared a domain before Waypost began to assign domains to accounts, each of these
    accounts keeps the domain, and may still add email addresses to it.
    """
    domain = address.key.rpartition("@")[2]
    for base in addresses.owner_keys(address, domains.subaddressed)[1:]:
        has_its_mail = tx.email_address_by_key(base)
        if has_its_mail and has_its_mail.account != account:
            raise errors.Conflict(
                f"Mail for {address} goes to another account, because subaddresses are enabled for {domain}."
            )
    if domains.are_shared(domain):
        return
    # Only one account at a time can create its first address in a domain. An account that already has an address in the
    # domain does not wait for this lock. Any other account waits: otherwise it could create an address in the domain
    # while the first account deletes its last address there and creates another address.
    name = f"domain {zlib.crc32(domain.encode()) % DOMAIN_HOLDS}"
    if tx.keep_domain(account, domain, name=name):
        return
    tx.hold(name)
    if tx.has_address_in(account, domain):
        return
    if domain in domains.of_server and account != domains.owner:
        raise errors.Conflict(
            f"Domain {domain} belongs to this server. Only the server's owner can have email addresses in this domain. "
            f"Use another domain, or ask the operator of this server to add {domain} to --shared-domains."
        )
    if tx.others_have_address_in(account, domain):
        raise errors.Conflict(
            f"Domain {domain} belongs to another account. An account owns each domain in which it has email addresses. "
            f"Use another domain, or ask the operator of this server to add {domain} to --shared-domains."
        )


def describe(tx: ports.ReadTx, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description:
    """Return the data of an email address, with its alias and its tags.

    Raises `errors.NotFound`, which names the missing resource, if the instance or the email address does not exist.
    """
    description = tx.description(tenant, instance_id, email_address_id)
    if description is None:
        raise _missing(tx, tenant, instance_id, email_address_id)
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
    """Return up to `limit` email addresses of an instance that match a condition, starting after the cursor `after`.

    The matching email addresses are counted, but only up to `count_up_to`. Raises `errors.NotFound` if the instance
    does not exist.
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
    """Change the display name and the description of an email address; None keeps the current value. Returns the email
    address's id.

    Alias links are not changed. Raises `errors.NotFound`, which names the missing resource, if the instance or the
    email address does not exist. Raises `errors.TokenReused` if the client token was used for a different call.
    """

    def effect() -> str:
        before = tx.lock_email_address(tenant, instance_id, email_address_id)
        if before is None:
            raise _missing(tx, tenant, instance_id, email_address_id)
        after = before.with_texts(display_name=display_name, description=description, now=now)
        if after != before:
            tx.update_email_address(after)
        return email_address_id

    return idempotency.once(tx, call, now=now, effect=effect)


def delete(tx: ports.WriteTx, tenant: Tenant, instance_id: str, email_address_id: str) -> None:
    """Delete an email address and its alias link, if it has one, but keep the mail that was delivered to the email
    address.

    Raises `errors.NotFound`, which names the missing resource, if the instance or the email address does not exist.
    """
    lock(tx, tenant, instance_id, email_address_id)
    tx.remove_email_address(email_address_id)


def lock(tx: ports.WriteTx, tenant: Tenant, instance_id: str, *ids: str) -> None:
    """Lock email addresses of an instance until the transaction ends.

    Rows are always locked in sorted order, so that two calls cannot deadlock. Raises `errors.NotFound`, which names the
    missing resource, if the instance or an email address does not exist. Raises `errors.Busy` if another transaction
    keeps the rows locked for too long.
    """
    held = tx.lock_email_addresses(tenant, instance_id, sorted(set(ids)))
    _refuse_missing(tx, tenant, instance_id, ids, held)


def lock_with_links(tx: ports.WriteTx, tenant: Tenant, instance_id: str, *ids: str) -> Mapping[str, AliasLink | None]:
    """Lock email addresses of an instance until the transaction ends, like `lock`, and return their alias links by the
    ids. Raises the errors that `lock` raises.
    """
    links = tx.lock_with_links(tenant, instance_id, sorted(set(ids)))
    _refuse_missing(tx, tenant, instance_id, ids, links)
    return links


def _refuse_missing(
    tx: ports.WriteTx, tenant: Tenant, instance_id: str, ids: Sequence[str], held: Container[str]
) -> None:
    for email_address_id in ids:
        if email_address_id not in held:
            raise _missing(tx, tenant, instance_id, email_address_id)


def _missing(tx: ports.ReadTx, tenant: Tenant, instance_id: str, email_address_id: str) -> errors.NotFound:
    """Return the error for an email address that does not exist. Raises the error for the instance if the instance does
    not exist either.
    """
    instances.get(tx, tenant, instance_id)
    return not_found(instance_id, email_address_id)


def not_found(instance_id: str, email_address_id: str) -> errors.NotFound:
    """Return the error for an email address that does not exist in this instance."""
    return errors.NotFound(f"Email address {email_address_id} was not found in instance {instance_id}.")
