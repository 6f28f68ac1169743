"""Instances, email addresses, alias links and tags: the resources of the API."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from msgspec import Struct

from waypost.domain.directory import search
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant


class Description(NamedTuple):
    """The data of an email address that DescribeEmailAddress shows, apart from its ids."""

    address: str
    display_name: str | None
    description: str | None
    created_at: datetime
    modified_at: datetime
    alias_id: str | None
    """The id of the email address's alias; None if the email address is not a primary."""
    tags: Mapping[str, str]


class SearchPage(Struct, frozen=True):
    """One page of search results: email addresses with their alias links, in a fixed order."""

    found: list[tuple[EmailAddress, AliasLink | None]]
    total: int
    """The number of matches on all pages, counted up to a limit. For a search with very many matches, this number is an
    estimate.
    """
    next_after: str | None
    """The cursor of the next page, in a format that only the store knows, or None if this is the last page."""


class Owners(Struct, frozen=True, eq=False):
    """The owners of several addresses at one point in time.

    The store may return the same object again if nothing has changed, so results that depend on it can be cached.
    """

    found: Mapping[str, tuple[EmailAddress, EmailAddress | None]]
    """Maps an address key to the email address that owns it, and to the primary of that email address.

    The primary is None unless the email address is an alias.
    """
    routes_revision: str
    """The revision of the routes at the same point in time. The caller can pass the revision to `stored_routes`."""


class ReadDirectory(Protocol):
    """Methods that read instances, email addresses, alias links and tags."""

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """Return the instance with this id. Return None if the tenant has no such instance."""
        ...

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        """Return up to `limit` of the tenant's instances, ordered by id, with ids greater than `after`.

        If `after` is empty, the list starts at the first instance.
        """
        ...

    def regions(self) -> list[str]:
        """Return the regions in which any account has an instance. This query is slow if there are many instances,
        because it reads all of them.
        """
        ...

    def regions_of(self, account: str) -> list[str]:
        """Return the regions in which an account has an instance, in alphabetical order."""
        ...

    def has_instance_alias(self, alias: str) -> bool:
        """Return whether an instance of any account has this alias. The comparison ignores case."""
        ...

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> Description | None:
        """Return the data of an email address of the tenant's instance. A single query reads the email address, its
        alias link and its tags.

        Return None if the instance has no such email address.
        """
        ...

    def search(
        self,
        tenant: Tenant,
        instance_id: str,
        condition: search.Condition,
        *,
        after: str | None,
        limit: int,
        count_up_to: int,
    ) -> SearchPage | None:
        """Return one page of the email addresses that match a condition, starting after the cursor `after`.

        Return None if the tenant has no such instance. All pages of a search use the same order. An email address
        that exists during the whole search is returned exactly once.
        """
        ...

    def count_email_addresses(self, instance_id: str, *, up_to: int) -> int:
        """Return the number of email addresses in an instance, or `up_to` if there are more."""
        ...

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        """Return the email address that has this address key. The email address may belong to any account.

        The method searches all accounts, because incoming mail does not name a tenant.
        """
        ...

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        """Return the email address with this id. The email address may belong to any account.

        Callers use this method to follow an alias link. Both email addresses of a link are in the same instance.
        """
        ...

    def owners(self, address_keys: Sequence[str]) -> Owners:
        """Return the owners of these addresses and the revision of the routes. A single query reads both the owners and
        the revision.
        """
        ...

    def has_address_in(self, account: str, domain: str) -> bool:
        """Return whether an account has an email address in exactly this domain, given as A-labels.

        Email addresses in subdomains of the domain do not count.
        """
        ...

    def others_have_address_in(self, account: str, domain: str) -> bool:
        """Return whether any account except this one has an email address in exactly this domain."""
        ...

    def links_of(self, email_address_ids: Sequence[str]) -> dict[str, AliasLink]:
        """Return the alias links of these email addresses. The keys of the result are the ids of the email addresses,
        which may be primaries or aliases.

        An email address without an alias link is left out.
        """
        ...

    def has_deleted_instance(self) -> bool:
        """Return whether rows of a deleted instance remain, which `remove_rows_of_instance` must remove."""
        ...

    def instance_tags(self, tenant: Tenant, instance_id: str) -> dict[str, str]:
        """Return the tags of the tenant's instance."""
        ...


class WriteDirectory(Protocol):
    """Methods that change instances, email addresses, alias links and tags."""

    def keep_domain(self, account: str, domain: str, *, name: str) -> bool:
        """Try to acquire the lock `name` in shared mode, and return whether the account has an email address in the
        domain.

        While this transaction shares the lock, no other transaction can acquire the lock with `hold`, but other
        transactions can share it, too. This method never waits for the lock. If another transaction has acquired the
        lock with `hold`, or if no transaction has ever acquired it with `hold`, the result is False.
        """
        ...

    def keep_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """Return the tenant's instance with this id. Until this transaction ends, no other transaction can delete it.

        Several transactions can keep an instance at the same time. Return None if the tenant has no such instance.
        """
        ...

    def lock_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """Lock the tenant's instance with this id until the transaction ends, and return it.

        Other transactions cannot add an email address to a locked instance. Return None if the tenant has no such
        instance.
        """
        ...

    def lock_email_addresses(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> set[str]:
        """Lock these email addresses of the tenant's instance until the transaction ends. Return the ids of those that
        exist in this instance.
        """
        ...

    def lock_with_links(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, AliasLink | None]:
        """Lock these email addresses of the tenant's instance until the transaction ends. Return the ids of those that
        exist in this instance, each with the alias link of its email address, or None if it has none.

        The links are those that exist when all locks have been acquired.
        """
        ...

    def lock_email_address(self, tenant: Tenant, instance_id: str, email_address_id: str) -> EmailAddress | None:
        """Lock an email address of the tenant's instance until the transaction ends, and return it. Return None if it
        does not exist in this instance.
        """
        ...

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        """Store a new instance with its tags."""
        ...

    def mark_instance_deleted(self, instance_id: str, *, now: datetime) -> None:
        """Mark a locked instance as deleted. From then on, no method finds the instance, its email addresses, or their
        alias links and tags. The instance's alias can be used again.

        The rows remain until `remove_rows_of_instance` removes them. Messages and deliveries are not deleted.
        """
        ...

    def lock_deleted_instance(self) -> str | None:
        """Lock a deleted instance that still has rows, and return its id.

        Return None if there is no such instance, or if other transactions have locked all of them.
        """
        ...

    def remove_rows_of_instance(self, instance_id: str, *, limit: int) -> bool:
        """Remove up to `limit` email addresses of a deleted instance with their alias links and tags. After the last
        email address, remove the instance itself.

        The caller has locked the instance. Return whether anything was removed. Email addresses that another
        transaction has locked are skipped, and remain for a later call.
        """
        ...

    def take_address(self, address_key: str) -> EmailAddress | None:
        """Return the email address that has this address key, in any account.

        If the email address belongs to a deleted instance, remove its rows and return None, so that the caller can
        create an email address with this key.
        """
        ...

    def add_email_address(self, email_address: EmailAddress, tags: Mapping[str, str]) -> None:
        """Store a new email address with its tags."""
        ...

    def update_email_address(self, email_address: EmailAddress) -> None:
        """Store the new display name, description and modification time of an email address; its other fields never
        change.
        """
        ...

    def remove_email_address(self, email_address_id: str) -> None:
        """Delete an email address with its alias link and its tags. Messages and deliveries are not deleted."""
        ...

    def put_tags(self, resource_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to an instance or email address. An existing tag with the same key gets the new value."""
        ...

    def remove_tags(self, resource_id: str, keys: Sequence[str]) -> None:
        """Remove tags from an instance or email address. Keys that the resource does not have are ignored."""
        ...

    def add_link(self, link: AliasLink) -> None:
        """Store a new alias link between two existing email addresses."""
        ...

    def remove_link(self, link: AliasLink) -> None:
        """Remove an alias link from both of its email addresses."""
        ...
