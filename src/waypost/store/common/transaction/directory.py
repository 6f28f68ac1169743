"""A transaction's queries for instances, email addresses, alias links and tags."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from waypost.app import ports
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.directory.search import Condition
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds


class Search(Protocol):
    """A search in one instance. The object builds SQL statements with their parameters, and interprets the rows that
    the statements return.
    """

    def page(self, *, after: str | None, limit: int) -> tuple[str, Sequence[Any]]:
        """Return the statement that reads one page of results. Each row contains an email address, its alias link, and
        the columns from which `place_of` creates the row's cursor.
        """
        ...

    def count(self, *, up_to: int) -> tuple[str, Sequence[Any]]:
        """Return the statement that counts the matches of the search. The method `total` interprets the row that this
        statement returns.
        """
        ...

    def total(self, counted: rows.Row, *, found: int, up_to: int) -> int:
        """Return the number of matches, given the row that the `count` statement returned.

        `found` is the number of matches that the page query returned. The result is never less than `found`.
        """
        ...

    def place_of(self, row: rows.Row) -> str:
        """Return the cursor of a row. To read the rows after this row, pass the cursor to `page` as the argument
        `after`.
        """
        ...


class DirectoryQueries(Statements):
    """The part of `Transaction` that handles the directory. The methods are documented in `app/ports/directory.py`."""

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        return [rows.instance(row) for row in self._all("instances", tenant.account, tenant.region, after, limit)]

    def regions(self) -> list[str]:
        return [row[0] for row in self._all("regions")]

    def regions_of(self, account: str) -> list[str]:
        return [row[0] for row in self._all("regions_of", account)]

    def has_instance_alias(self, alias: str) -> bool:
        return self._one("instance_alias", rows.alias_key(alias)) is not None

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description | None:
        row = self._one("description", email_address_id, instance_id, tenant.account, tenant.region)
        return rows.description(row) if row else None

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        row = self._one("email_address_by_key", address_key)
        return rows.email_address(row) if row else None

    def take_address(self, address_key: str) -> EmailAddress | None:
        row = self._one("row_with_key", address_key)
        if row is None:
            return None
        found, deleted_at = rows.email_address(row), row[-1]
        if deleted_at is None:
            return found
        self._run("hold_deleted_instance", found.instance_id)
        self.remove_email_address(found.id)
        return None

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        row = self._one("email_address_by_id", email_address_id)
        return rows.email_address(row) if row else None

    def owners(self, address_keys: Sequence[str]) -> ports.Owners:
        return rows.owners(self._all("owners", self._list_of(address_keys)))

    def has_address_in(self, account: str, domain: str) -> bool:
        return self._one("has_address_in", domain, account) is not None

    def others_have_address_in(self, account: str, domain: str) -> bool:
        return self._one("others_have_address_in", domain, account) is not None

    def links_of(self, email_address_ids: Sequence[str]) -> dict[str, AliasLink]:
        return {row[0]: rows.link(row) for row in self._all("links_of", self._list_of(email_address_ids))}

    def search(
        self,
        tenant: Tenant,
        instance_id: str,
        condition: Condition,
        *,
        after: str | None,
        limit: int,
        count_up_to: int,
    ) -> ports.SearchPage | None:
        search = self._search(tenant, instance_id, condition)
        if search is None:
            return None
        found = self._ask(*search.page(after=after, limit=limit + 1))
        more, total = len(found) > limit, len(found)
        if more or after:  # otherwise, this page contains all matches
            (counted,) = self._ask(*search.count(up_to=count_up_to))
            total = search.total(counted, found=total, up_to=count_up_to)
        next_after = search.place_of(found[limit - 1]) if more else None
        return ports.SearchPage([rows.found(row) for row in found[:limit]], total, next_after)

    def count_email_addresses(self, instance_id: str, *, up_to: int) -> int:
        (count,) = self._all("email_addresses_up_to", instance_id, up_to)[0]
        return int(count)

    def instance_tags(self, tenant: Tenant, instance_id: str) -> dict[str, str]:
        return dict(self._all("instance_tags", instance_id, tenant.account, tenant.region))

    def keep_domain(self, account: str, domain: str, *, name: str) -> bool:
        return self._one("keep_domain", domain, account, name) is not None

    def keep_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("keep_instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def lock_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("lock_instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def lock_email_addresses(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> set[str]:
        found = self._all("lock_email_addresses", self._list_of(ids), instance_id, tenant.account, tenant.region)
        return {email_address_id for (email_address_id,) in found}

    def lock_with_links(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, AliasLink | None]:
        found = self._all("lock_with_links", self._list_of(ids), instance_id, tenant.account, tenant.region)
        return {row[0]: rows.link(row[1:]) if row[1] else None for row in found}

    def lock_email_address(self, tenant: Tenant, instance_id: str, email_address_id: str) -> EmailAddress | None:
        row = self._one("lock_email_address", email_address_id, instance_id, tenant.account, tenant.region)
        return rows.email_address(row) if row else None

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        self._run("add_instance", *rows.of_instance(instance))
        self.put_tags(instance.id, tags)

    def mark_instance_deleted(self, instance_id: str, *, now: datetime) -> None:
        self._run("mark_instance_deleted", instance_id, kinds.to_milliseconds(now))

    def has_deleted_instance(self) -> bool:
        return self._one("has_deleted_instance") is not None

    def lock_deleted_instance(self) -> str | None:
        row = self._one("lock_deleted_instance")
        return row[0] if row else None

    def remove_rows_of_instance(self, instance_id: str, *, limit: int) -> bool:
        found = [row[0] for row in self._all("lock_removed_email_addresses", instance_id, limit)]
        listed = self._list_of(found)
        self._run("remove_listed_links", listed)
        self._run("remove_listed_tags", listed)
        self._run("remove_listed_search_entries", listed)
        self._run("remove_listed_email_addresses", listed)
        if len(found) == limit:
            return True
        return self._remove_emptied_instance(instance_id) or bool(found)

    def _remove_emptied_instance(self, instance_id: str) -> bool:
        """Remove a deleted instance, and return True, unless the instance still has email addresses."""
        self._run("remove_all_tags", instance_id)
        return self._one("remove_emptied_instance", instance_id) is not None

    def add_email_address(self, email_address: EmailAddress, tags: Mapping[str, str]) -> None:
        self._run("add_email_address", *rows.of_email_address(email_address))
        entry = self._search_entry(email_address)
        self._run("add_search_entry", email_address.id, email_address.instance_id, *entry)
        self.put_tags(email_address.id, tags)

    def update_email_address(self, email_address: EmailAddress) -> None:
        modified_at = kinds.to_milliseconds(email_address.modified_at)
        texts = (email_address.display_name, email_address.description)
        self._run("update_email_address", email_address.id, *texts, modified_at)
        self._run("update_search_entry", email_address.id, *self._search_entry(email_address))

    def remove_email_address(self, email_address_id: str) -> None:
        self._run("remove_link", email_address_id)
        self._run("remove_all_tags", email_address_id)
        self._run("remove_search_entry", email_address_id)
        self._run("remove_email_address", email_address_id)

    def put_tags(self, resource_id: str, tags: Mapping[str, str]) -> None:
        # All transactions write tags in the same order, so that they cannot deadlock.
        self._run_each("put_tag", [(resource_id, key, value) for key, value in sorted(tags.items())])

    def remove_tags(self, resource_id: str, keys: Sequence[str]) -> None:
        self._run_each("remove_tag", [(resource_id, key) for key in sorted(keys)])

    def add_link(self, link: AliasLink) -> None:
        self._run("add_link", link.primary_id, link.alias_id, kinds.to_milliseconds(link.created_at))

    def remove_link(self, link: AliasLink) -> None:
        self._run("remove_link", link.primary_id)

    def _search_entry(self, email_address: EmailAddress) -> rows.Row:
        """Return the search entry of an email address: its three case-folded texts, and the columns that only this type
        of database has.
        """
        return rows.of_search_entry(email_address)

    @abstractmethod
    def _search(self, tenant: Tenant, instance_id: str, condition: Condition) -> Search | None:
        """Return an object that searches the tenant's instance, or None if the tenant has no such instance."""

    @abstractmethod
    def _ask(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a statement of a search, and return its rows."""
