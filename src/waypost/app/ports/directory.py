"""Instances, email addresses, alias links and tags: the resources of the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from waypost.domain.directory import search
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant


@dataclass(frozen=True, slots=True)
class Description:
    """An email address with its link and its tags."""

    email_address: EmailAddress
    link: AliasLink | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of the email addresses that a search finds, each with its link, in a fixed order."""

    found: list[tuple[EmailAddress, AliasLink | None]]
    total: int
    """The number of all matches, counted up to a limit; an estimate if there are very many."""
    next_after: str | None
    """The place where the next page begins, in the store's own form; None at the end."""


@dataclass(frozen=True, slots=True)
class Owners:
    """The owners of some addresses, at one moment."""

    found: Mapping[str, tuple[EmailAddress, EmailAddress | None]]
    """By address key: the owner, with its primary if it is an alias."""
    routes_revision: str
    """The revision of the routes at this moment, for `stored_routes`."""


class ReadDirectory(Protocol):
    """Reads instances, email addresses, alias links and tags."""

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """The instance with this id, if it is the tenant's."""
        ...

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        """In the order of their ids, those after `after` (empty: from the start)."""
        ...

    def regions(self) -> list[str]:
        """The regions of all instances, of any account. Looks at all instances."""
        ...

    def has_instance_alias(self, alias: str) -> bool:
        """Whether any instance has this alias, without regard to case."""
        ...

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> Description | None:
        """An email address of the tenant's instance, in one look-up with its link and its tags."""
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
        """A page of the email addresses that fulfil a condition, after `after`; None if there is no such instance.

        All pages of one search have the same order, so each email address that exists throughout occurs once.
        """
        ...

    def count_email_addresses(self, instance_id: str, *, up_to: int) -> int:
        """The number of an instance's email addresses, counted up to `up_to`."""
        ...

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        """The owner of an address in the whole deployment, of any account: mail has no tenant."""
        ...

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        """The email address with this id, of any account: for following a link, whose ends are in one instance."""
        ...

    def owners(self, address_keys: Sequence[str]) -> Owners:
        """The owners of addresses at one moment, and the revision of the routes then."""
        ...

    def has_address_in(self, account: str, domain: str) -> bool:
        """Whether an account has an email address in a domain (as A-labels), but not in one below it."""
        ...

    def others_have_address_in(self, account: str, domain: str) -> bool:
        """Whether another account has one."""
        ...

    def links_of(self, email_address_ids: Sequence[str]) -> dict[str, AliasLink]:
        """The one alias link that each of these email addresses is in, on either side, by its id."""
        ...

    def instance_tags(self, tenant: Tenant, instance_id: str) -> dict[str, str]:
        """The tags of the tenant's instance."""
        ...


class WriteDirectory(Protocol):
    """Changes to instances, email addresses, alias links and tags."""

    def keep_domain(self, account: str, domain: str, *, name: str) -> bool:
        """Whether an account has an email address in a domain, and now nobody gets `name` by `hold`.

        Several transactions may do so at once. It never waits: it returns False also if another transaction holds the
        name, or none ever has.
        """
        ...

    def lock_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """The tenant's instance with this id, locked until the transaction ends. Nothing is added to it meanwhile."""
        ...

    def lock_email_addresses(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, EmailAddress]:
        """The email addresses with these ids in the tenant's instance, by id, locked until the transaction ends."""
        ...

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        """A new instance with its tags."""
        ...

    def remove_instance(self, instance_id: str) -> None:
        """With its email addresses, their links and tags. Messages and deliveries stay."""
        ...

    def add_email_address(self, email_address: EmailAddress, tags: Mapping[str, str]) -> None:
        """A new email address with its tags."""
        ...

    def update_email_address(self, email_address: EmailAddress) -> None:
        """Its display name, its description, and when it was modified; the rest never changes."""
        ...

    def remove_email_address(self, email_address_id: str) -> None:
        """With its link, on either side, and its tags. Messages and deliveries stay."""
        ...

    def put_tags(self, resource_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to an instance or email address; an existing key gets the new value."""
        ...

    def remove_tags(self, resource_id: str, keys: Sequence[str]) -> None:
        """Remove tags from an instance or email address; a missing key is ignored."""
        ...

    def add_link(self, link: AliasLink) -> None:
        """A new alias link between two email addresses that exist."""
        ...

    def remove_link(self, link: AliasLink) -> None:
        """Remove a link, at both of its ends."""
        ...
