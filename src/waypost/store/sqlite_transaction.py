"""One transaction on SQLite: the queries of `ports.WriteTx`, and what a broken constraint means."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Protocol

from waypost.app import ports
from waypost.domain.access_keys import AccessKey
from waypost.domain.aliases import AliasLink
from waypost.domain.delivery import Delivery
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.instances import Instance, Tenant
from waypost.domain.messages import Message
from waypost.domain.search import Condition
from waypost.store import errors, rows, sql, sqlite_search

_QUERIES = sql.load("sqlite")

_UNIQUE_CONSTRAINTS = {
    "email_addresses.address_key": "email_addresses_have_one_owner",
    "instances.alias_key": "instances_alias_is_unique",
    "alias_link_ends.email_address_id": "alias_link_ends_one_link_each",
    "alias_link_ends.email_address_id, alias_link_ends.side, "
    "alias_link_ends.other_id, alias_link_ends.other_side": "alias_link_ends_pair",
}
"""SQLite names a unique constraint by its columns when it is broken; here is the name it has in the schema."""


_SEAL_CHECK = "seal check"


class Seal(Protocol):
    """Keeps secrets from whoever reads the file. Both sides are given what the secret is of."""

    def seal(self, secret: str, of: str) -> bytes:
        """What may be written."""
        ...

    def unseal(self, sealed: bytes, of: str) -> str:
        """The secret again."""
        ...


class Transaction:
    """`ports.WriteTx` over one connection. As `ports.ReadTx` where the connection is read-only."""

    def __init__(self, connection: sqlite3.Connection, seal: Seal) -> None:
        self.connection = connection
        self._seal = seal
        # A key is read at every call, and is nearly always the same row.
        self._access_key = lru_cache(maxsize=1024)(partial(rows.access_key, unseal=seal.unseal))

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        return [rows.instance(row) for row in self._all("instances", tenant.account, tenant.region, after, limit)]

    def has_instance_alias(self, alias: str) -> bool:
        return self._one("instance_alias", rows.alias_key(alias)) is not None

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description | None:
        row = self._one("description", email_address_id, instance_id, tenant.account, tenant.region)
        return rows.description(row) if row else None

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        row = self._one("email_address_by_key", address_key)
        return rows.email_address(row) if row else None

    def email_address_with_primary(self, address_key: str) -> tuple[EmailAddress, EmailAddress | None] | None:
        row = self._one("email_address_with_primary", address_key)
        if row is None:
            return None
        own, primary = row[: rows.EMAIL_ADDRESS_FIELDS], row[rows.EMAIL_ADDRESS_FIELDS :]
        return rows.email_address(own), rows.email_address(primary) if primary[0] else None

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        row = self._one("email_address_by_id", email_address_id)
        return rows.email_address(row) if row else None

    def link_of(self, email_address_id: str) -> AliasLink | None:
        row = self._one("link_of", email_address_id)
        return rows.link(row) if row else None

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
        own_range = self._one("search_range", instance_id, tenant.account, tenant.region)
        if own_range is None:
            return None
        search = sqlite_search.Search(condition, own_range[0])
        found = self.connection.execute(*search.page(after=after, limit=limit + 1)).fetchall()
        more, total = len(found) > limit, len(found)
        if more or after:  # else this page is all there is
            counted = self.connection.execute(*search.count(up_to=count_up_to)).fetchone()
            total = search.total(counted, found=total, up_to=count_up_to)
        next_after = sqlite_search.place_of(found[limit - 1]) if more else None
        return ports.SearchPage([rows.found(row) for row in found[:limit]], total, next_after)

    def count_email_addresses(self, instance_id: str, *, up_to: int) -> int:
        count: int = self._execute("email_addresses_up_to", instance_id, up_to).fetchone()[0]
        return count

    def instance_tags(self, tenant: Tenant, instance_id: str) -> dict[str, str]:
        return dict(self._all("instance_tags", instance_id, tenant.account, tenant.region))

    def access_key(self, access_key_id: str) -> AccessKey | None:
        row = self._one("access_key", access_key_id)
        return self._access_key(row) if row else None

    def access_keys(self) -> list[AccessKey]:
        return [self._access_key(row) for row in self._all("access_keys")]

    def remembered_call(self, key: ports.CallKey) -> ports.RememberedCall | None:
        row = self._one("remembered_call", *_call_key(key))
        return rows.remembered_call(row) if row else None

    def message(self, account: str, message_id: str) -> Message | None:
        row = self._one("message", message_id, account)
        return rows.message(row) if row else None

    def raw(self, message_id: str) -> bytes:
        raw: bytes = self._execute("raw", message_id).fetchone()[0]
        return raw

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        return [rows.delivery(row) for row in self._all("deliveries_of", message_id, account)]

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        newest = "~" if after is None else after  # "~" sorts behind every id
        found = self._all("deliveries_at", account, address_key, newest, limit)
        return [(rows.delivery(row), rows.message(row[rows.DELIVERY_FIELDS :])) for row in found]

    def trace(self, message_id: str) -> list[ports.TraceEvent]:
        return [rows.trace_event(row) for row in self._all("trace", message_id)]

    def lock_email_addresses(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, EmailAddress]:
        # There is one writer, so a write transaction holds every row already.
        owner = (instance_id, tenant.account, tenant.region)
        found = (self._one("email_address", email_address_id, *owner) for email_address_id in ids)
        email_addresses = [rows.email_address(row) for row in found if row]
        return {email_address.id: email_address for email_address in email_addresses}

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        self._execute("add_instance", *rows.of_instance(instance))
        self._execute("add_search_range", instance.id)
        self.put_tags(instance.id, tags)

    def remove_instance(self, instance_id: str) -> None:
        self._execute("remove_links_of_instance", instance_id)
        self._execute("remove_tags_of_instance", instance_id)
        self._execute("remove_search_entries_of_instance", instance_id)
        self._execute("remove_search_range", instance_id)
        self._execute("remove_email_addresses_of_instance", instance_id)
        self._execute("remove_instance", instance_id)

    def add_email_address(self, email_address: EmailAddress, tags: Mapping[str, str]) -> None:
        self._execute("add_email_address", *rows.of_email_address(email_address))
        entry = rows.of_search_entry(email_address)
        self._execute("add_search_entry", email_address.id, *entry, email_address.instance_id)
        self.put_tags(email_address.id, tags)

    def update_email_address(self, email_address: EmailAddress) -> None:
        modified_at = rows.to_milliseconds(email_address.modified_at)
        texts = (email_address.display_name, email_address.description)
        self._execute("update_email_address", *texts, modified_at, email_address.id)
        _, *folded = rows.of_search_entry(email_address)
        self._execute("update_search_entry", *folded, email_address.id)

    def remove_email_address(self, email_address_id: str) -> None:
        self._execute("remove_link", email_address_id)
        self._execute("remove_all_tags", email_address_id)
        self._execute("remove_search_entry", email_address_id)
        self._execute("remove_email_address", email_address_id)

    def put_tags(self, resource_id: str, tags: Mapping[str, str]) -> None:
        self._many("put_tag", [(resource_id, key, value) for key, value in tags.items()])

    def remove_tags(self, resource_id: str, keys: Sequence[str]) -> None:
        self._many("remove_tag", [(resource_id, key) for key in keys])

    def add_link(self, link: AliasLink) -> None:
        self._execute("add_link", link.primary_id, link.alias_id, rows.to_milliseconds(link.created_at))

    def remove_link(self, link: AliasLink) -> None:
        self._execute("remove_link", link.primary_id)

    def remember_call(self, key: ports.CallKey, call: ports.RememberedCall) -> None:
        made_at = rows.to_milliseconds(call.made_at)
        self._execute("remember_call", *_call_key(key), call.fingerprint, call.answer, made_at)

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        return self._execute("forget_calls", rows.to_milliseconds(before), limit).rowcount

    def first_time(self, what: str) -> bool:
        if self._one("mark", what):
            return False
        self._execute("add_mark", what, b"done")
        return True

    def check_seal(self) -> None:
        """Make sure that secrets in this database are sealed by this seal; `unseal` raises if they are not."""
        row = self._one("mark", _SEAL_CHECK)
        if row:
            self._seal.unseal(row[0], _SEAL_CHECK)
        else:
            self._execute("add_mark", _SEAL_CHECK, self._seal.seal("right", _SEAL_CHECK))

    def add_access_key(self, key: AccessKey) -> None:
        self._execute("add_access_key", *rows.of_access_key(key, self._seal.seal(key.secret, key.id)))

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        self._execute("activate_access_key", int(active), access_key_id)

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        self._execute("remove_access_keys_expired", rows.to_milliseconds(before))

    def remove_access_key(self, access_key_id: str) -> None:
        self._execute("remove_access_key", access_key_id)

    def add_message(
        self, message: Message, raw: bytes, deliveries: Sequence[Delivery], trace: Sequence[ports.TraceEvent]
    ) -> None:
        self._execute("add_message", *rows.of_message(message))
        self._execute("add_body", message.id, raw)
        self._many("add_delivery", [rows.of_delivery(delivery) for delivery in deliveries])
        self._many("add_trace_event", [rows.of_trace_event(message.id, n, event) for n, event in enumerate(trace)])

    def _one(self, query: str, *parameters: Any) -> rows.Row | None:
        row: rows.Row | None = self._execute(query, *parameters).fetchone()
        return row

    def _all(self, query: str, *parameters: Any) -> list[Any]:
        return self._execute(query, *parameters).fetchall()

    def _execute(self, query: str, *parameters: Any) -> sqlite3.Cursor:
        try:
            return self.connection.execute(_QUERIES[query], parameters)
        except sqlite3.IntegrityError as error:
            raise _translated(error) from error

    def _many(self, query: str, parameters: Sequence[rows.Row]) -> None:
        try:
            self.connection.executemany(_QUERIES[query], parameters)
        except sqlite3.IntegrityError as error:
            raise _translated(error) from error


def _translated(error: sqlite3.IntegrityError) -> Exception:
    """The domain error for a broken constraint, or the error itself where only a bug can have broken it."""
    what, _, which = str(error).partition(" constraint failed: ")
    constraint = _UNIQUE_CONSTRAINTS.get(which, which) if what == "UNIQUE" else which
    return errors.meaning(constraint) or error


def _call_key(key: ports.CallKey) -> rows.Row:
    return (key.tenant.account, key.tenant.region, key.operation, key.scope, key.token)
