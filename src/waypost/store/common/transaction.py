"""One transaction on any database: the queries of `ports.WriteTx` by their names, and the rows they give.

What differs between databases is in `statements.py`, and at the end: the few things that each does its own way.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Protocol

from waypost.app import ports
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.directory.search import Condition
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.routes import Route
from waypost.store.common import rows
from waypost.store.common.notices_transaction import NoticeQueries
from waypost.store.common.queue_transaction import QueueQueries
from waypost.store.common.retention_transaction import RetentionQueries
from waypost.store.sql import kinds

_SEAL_CHECK = "seal check"

_ROUTES_REVISION = "routes revision"

_BEHIND_ALL = "~"
"""Sorts behind every id."""

PIECE = 256 * 1024
"""Octets of a message in one row."""


class Seal(Protocol):
    """Keeps secrets from whoever reads the database. Both sides are given what the secret is of."""

    def seal(self, secret: str, of: str) -> bytes:
        """What may be written."""
        ...

    def unseal(self, sealed: bytes, of: str) -> str:
        """The secret again."""
        ...


class Search(Protocol):
    """A condition that is searched for in one instance: statements with their parameters, and what their rows mean."""

    def page(self, *, after: str | None, limit: int) -> tuple[str, Sequence[Any]]:
        """Rows of an email address, its link, and its place."""
        ...

    def count(self, *, up_to: int) -> tuple[str, Sequence[Any]]:
        """One row, from which `total` tells how many there are."""
        ...

    def total(self, counted: rows.Row, *, found: int, up_to: int) -> int:
        """How many there are, by the row that `count` gave, and after `found` have been seen."""
        ...

    def place_of(self, row: rows.Row) -> str:
        """Where a row of a page stands, as `page` takes it for `after`."""
        ...


class Transaction(QueueQueries, NoticeQueries, RetentionQueries):
    """`ports.WriteTx` over one connection. As `ports.ReadTx` where the connection may only read."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        # A key is read at every call, and is nearly always the same row.
        self._access_key = lru_cache(maxsize=1024)(partial(rows.access_key, unseal=seal.unseal))
        # So are the routes, by which all mail is delivered.
        self._routes: tuple[str, tuple[Route, ...]] = ("", ())
        """Those that were read last, behind their revision."""

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        return [rows.instance(row) for row in self._all("instances", tenant.account, tenant.region, after, limit)]

    def regions(self) -> list[str]:
        return [row[0] for row in self._all("regions")]

    def has_instance_alias(self, alias: str) -> bool:
        return self._one("instance_alias", rows.alias_key(alias)) is not None

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> ports.Description | None:
        row = self._one("description", email_address_id, instance_id, tenant.account, tenant.region)
        return rows.description(row) if row else None

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        row = self._one("email_address_by_key", address_key)
        return rows.email_address(row) if row else None

    def owners(self, address_keys: Sequence[str]) -> ports.Owners:
        found = self._all("owners", self._list_of(address_keys))
        owners = [rows.with_primary(row[1:]) for row in found if row[1]]
        by_key = {own.address.key: (own, primary) for own, primary in owners}
        return ports.Owners(by_key, rows.revision(found[0][0]))

    def routes_revision(self) -> str:
        row = self._one("mark", _ROUTES_REVISION)
        return rows.revision(row[0]) if row else ""

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        if revision != self._routes[0]:
            found = self._all("routes")
            routes = tuple(rows.route(row[1:], self._seal.unseal) for row in found if row[1])
            self._routes = (rows.revision(found[0][0]) if found else "", routes)
        return self._routes[1]

    def put_routes(self, routes: Sequence[Route], *, revision: str) -> None:
        self._run("put_mark", _ROUTES_REVISION, revision.encode())  # held: others replace the routes after this
        self._run("remove_routes")
        self._run_each("add_route", [rows.of_route(n, route, self._seal.seal) for n, route in enumerate(routes)])

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        row = self._one("email_address_by_id", email_address_id)
        return rows.email_address(row) if row else None

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
        if more or after:  # else this page is all there is
            (counted,) = self._ask(*search.count(up_to=count_up_to))
            total = search.total(counted, found=total, up_to=count_up_to)
        next_after = search.place_of(found[limit - 1]) if more else None
        return ports.SearchPage([rows.found(row) for row in found[:limit]], total, next_after)

    def count_email_addresses(self, instance_id: str, *, up_to: int) -> int:
        (count,) = self._all("email_addresses_up_to", instance_id, up_to)[0]
        return int(count)

    def instance_tags(self, tenant: Tenant, instance_id: str) -> dict[str, str]:
        return dict(self._all("instance_tags", instance_id, tenant.account, tenant.region))

    def access_key(self, access_key_id: str) -> AccessKey | None:
        row = self._one("access_key", access_key_id)
        return self._access_key(row) if row else None

    def access_keys(self) -> list[AccessKey]:
        return [self._access_key(row) for row in self._all("access_keys")]

    def message(self, account: str, message_id: str) -> Message | None:
        row = self._one("message", message_id, account)
        return rows.message(row) if row else None

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        return [rows.delivery(row) for row in self._all("deliveries_of", message_id, account)]

    def all_deliveries_of(self, message_id: str) -> list[Delivery]:
        return [rows.delivery(row) for row in self._all("all_deliveries_of", message_id)]

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        newest = _BEHIND_ALL if after is None else after
        found = self._all("deliveries_at", account, address_key, newest, limit)
        return [rows.delivery_and_message(row) for row in found]

    def deliveries_kept(
        self, account: str, *, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        message_id, email_address_id = after or (_BEHIND_ALL, "")
        found = self._all("deliveries_kept", account, message_id, email_address_id, limit)
        return [rows.delivery_and_message(row) for row in found]

    def deliveries_to(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        newest = _BEHIND_ALL if after is None else after
        found = self._all("deliveries_to", account, address_key, newest, limit)
        return [rows.delivery_and_message(row) for row in found]

    def messages_with_header_id(self, account: str, header_id: str, *, limit: int) -> list[Message]:
        return [rows.message(row) for row in self._all("messages_with_header_id", account, header_id, limit)]

    def messages_between(self, first: str, last: str, *, limit: int) -> list[Message]:
        return [rows.message(row) for row in self._all("messages_between", first, last, limit)]

    def octets(self, message_id: str, *, start: int, limit: int) -> bytes:
        pieces = self._all("octets", message_id, start, start + limit)
        if not pieces:
            return b""
        skipped = start - pieces[0][0]
        return b"".join(octets for _, octets in pieces)[skipped : skipped + limit]

    def trace(self, message_id: str) -> list[ports.TraceEvent]:
        return [rows.trace_event(row) for row in self._all("trace", message_id)]

    def hold(self, what: str) -> None:
        self._run("hold", what)

    def keep_domain(self, account: str, domain: str, *, name: str) -> bool:
        return self._one("keep_domain", domain, account, name) is not None

    def lock_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        row = self._one("lock_instance", instance_id, tenant.account, tenant.region)
        return rows.instance(row) if row else None

    def lock_email_addresses(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, EmailAddress]:
        found = self._all("lock_email_addresses", self._list_of(ids), instance_id, tenant.account, tenant.region)
        return {row[0]: rows.email_address(row) for row in found}

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        self._run("add_instance", *rows.of_instance(instance))
        self.put_tags(instance.id, tags)

    def remove_instance(self, instance_id: str) -> None:
        self._run("lock_email_addresses_of_instance", instance_id)
        self._run("remove_links_of_instance", instance_id)
        self._run("remove_tags_of_instance", instance_id)
        self._run("remove_search_entries_of_instance", instance_id)
        self._run("remove_email_addresses_of_instance", instance_id)
        self._run("remove_instance", instance_id)

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
        # In one order, so that no two transactions wait for each other.
        self._run_each("put_tag", [(resource_id, key, value) for key, value in sorted(tags.items())])

    def remove_tags(self, resource_id: str, keys: Sequence[str]) -> None:
        self._run_each("remove_tag", [(resource_id, key) for key in sorted(keys)])

    def add_link(self, link: AliasLink) -> None:
        self._run("add_link", link.primary_id, link.alias_id, kinds.to_milliseconds(link.created_at))

    def remove_link(self, link: AliasLink) -> None:
        self._run("remove_link", link.primary_id)

    def claim_call(self, key: ports.CallKey) -> ports.RememberedCall | None:
        row = self._one("claim_call", *_call_key(key))
        return rows.remembered_call(row) if row and row[0] else None  # without a fingerprint it is only claimed

    def remember_call(self, key: ports.CallKey, call: ports.RememberedCall) -> None:
        made_at = kinds.to_milliseconds(call.made_at)
        self._run("remember_call", *_call_key(key), call.fingerprint, call.answer, made_at)

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        return len(self._all("forget_calls", kinds.to_milliseconds(before), limit))

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        return len(self._all("correct_calls", kinds.to_milliseconds(now), limit))

    def first_time(self, what: str) -> bool:
        return bool(self._all("add_mark", what, b"done"))

    def check_seal(self) -> None:
        """Make sure that secrets in this database are sealed by this seal; `unseal` raises if they are not."""
        self._all("add_mark", _SEAL_CHECK, self._seal.seal("right", _SEAL_CHECK))
        ((sealed,),) = self._all("mark", _SEAL_CHECK)
        self._seal.unseal(sealed, _SEAL_CHECK)

    def add_access_key(self, key: AccessKey) -> None:
        self._run("add_access_key", *rows.of_access_key(key, self._seal.seal))

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        self._run("activate_access_key", access_key_id, active)

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        self._run("remove_access_keys_expired", kinds.to_milliseconds(before))

    def remove_access_key(self, access_key_id: str) -> None:
        self._run("remove_access_key", access_key_id)

    def add_octets(self, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
        if start == 0:
            self._run("begin_message", message_id, kinds.to_milliseconds(now))
        elif not self._all("still_begun", message_id):
            raise _gone(message_id, start)
        self._run_each("add_octets", _pieces(message_id, octets, start))

    def trim_octets(self, message_id: str, *, limit: int) -> int:
        return len(self._all("trim_octets", message_id, limit))

    def remove_octets(self, message_id: str) -> bool:
        begun = bool(self._all("end_message", message_id))
        if begun:
            self._run("remove_octets", message_id)
        return begun

    def messages_begun(self, *, before: datetime, limit: int) -> list[str]:
        return [row[0] for row in self._all("messages_begun", kinds.to_milliseconds(before), limit)]

    def add_message(
        self,
        message: Message,
        octets: bytes,
        deliveries: Sequence[Delivery],
        trace: Sequence[ports.TraceEvent],
        *,
        warn_at: datetime | None = None,
    ) -> None:
        start = message.size - len(octets)
        if start and not self._all("end_message", message.id):
            raise _gone(message.id, start)
        self._run("add_message", *rows.of_message(message))
        self._run_each("add_octets", _pieces(message.id, octets, start))
        self._run_each("add_delivery", [rows.of_delivery(delivery) for delivery in deliveries])
        self._run_each("add_trace_event", [rows.of_trace_event(message.id, n, event) for n, event in enumerate(trace)])
        queued = [delivery for delivery in deliveries if delivery.status is Status.QUEUED]
        if queued:
            self._add_to_queue(queued, now=message.received_at, warn_at=warn_at)

    def _search_entry(self, email_address: EmailAddress) -> rows.Row:
        """What of an email address is searched: its three texts, folded, and what this database wants besides."""
        return rows.of_search_entry(email_address)

    @abstractmethod
    def _search(self, tenant: Tenant, instance_id: str, condition: Condition) -> Search | None:
        """A search in the tenant's instance, or None if there is no such instance."""

    @abstractmethod
    def _ask(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a statement of a search; returns its rows."""


def _gone(message_id: str, octets: int) -> ports.StoreUnavailable:
    return ports.StoreUnavailable(f"the first {octets} octets of message {message_id} are not here any more")


def _pieces(message_id: str, octets: bytes, start: int) -> Iterable[rows.Row]:
    """Bytes of a message from `start` on, as rows, each with the place where it begins."""
    view = memoryview(octets)
    return ((message_id, start + place, view[place : place + PIECE]) for place in range(0, len(octets), PIECE))


def _call_key(key: ports.CallKey) -> rows.Row:
    return (key.tenant.account, key.tenant.region, key.operation, key.scope, key.token)
