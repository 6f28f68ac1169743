"""Runs the queries of one transaction on SQLite, and translates errors for violated constraints."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from waypost.app import ports
from waypost.app.known import Known
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.directory.search import Condition
from waypost.domain.mail.mail_search import Phrase
from waypost.store import sql
from waypost.store.common import errors, rows
from waypost.store.common.statements import Seal, bindable
from waypost.store.common.transaction import Transaction
from waypost.store.sql.kinds import to_json
from waypost.store.sqlite import mail_match
from waypost.store.sqlite import search as sqlite_search

QUERIES = {name: query.sql for name, query in sql.load("sqlite").items()}


_CHANGE = re.compile(r"\b(?:(?:INSERT|REPLACE)(?:\s+OR\s+\w+)?\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+(\w+)")


def _changing(*tables: str) -> frozenset[str]:
    """Return the names of the queries that may change a row of these tables."""
    return frozenset(name for name, query in QUERIES.items() if not set(tables).isdisjoint(_CHANGE.findall(query)))


CHANGING = _changing("email_addresses", "instances", "alias_link_ends", "tags", "routes", "deployment_marks")
"""The names of the queries that may change the directory or the routes: everything on which the deliveries of a message
and the outputs of look-ups depend."""

CHANGING_KEYS = _changing("access_keys")
"""The names of the queries that may change the access keys."""

_OWNERS_OF, _OWNERS_KEPT = 4, 500
"""The maximum number of addresses whose owners are cached together, and of such groups in the cache."""

MERGED_EACH = 8
"""The number of pages of the index of mail that are merged for each new entry."""

_UNIQUE_CONSTRAINTS = {
    "email_addresses.address_key": "email_addresses_have_one_owner",
    "instances.alias_key": "instances_alias_is_unique",
    "alias_link_ends.email_address_id": "alias_link_ends_one_link_each",
    "alias_link_ends.email_address_id, alias_link_ends.side, "
    "alias_link_ends.other_id, alias_link_ends.other_side": "alias_link_ends_pair",
}
"""The names of the unique constraints. The keys are the columns of each constraint, because SQLite's error message
lists these columns instead of the constraint's name."""


class SqliteTransaction(Transaction):
    """A transaction on one connection to the SQLite file. SQLite has only one writer, so a write transaction need not
    lock rows.
    """

    def __init__(self, connection: sqlite3.Connection, seal: Seal) -> None:
        super().__init__(seal)
        self.connection = connection
        self._cursor = connection.cursor()
        """The cursor for queries whose rows are fetched at once, which leaves no statement open."""
        self.before_change: Callable[[], object] = lambda: None
        """A function that is called before each query that may change the directory or the routes."""
        self.before_change_of_keys: Callable[[], object] = lambda: None
        """A function that is called before each query that may change the access keys."""
        self.directory_version: Callable[[], int | None] = lambda: None
        """A function that returns the version of the directory and the routes; None if the version is unknown."""
        self._owners = Known[ports.Owners](_OWNERS_KEPT)

    def owners(self, address_keys: Sequence[str]) -> ports.Owners:
        # Each message needs the owners of its recipients. While this transaction has the turn, no other process can
        # change the directory, and the version is unknown as soon as this transaction itself changes the directory.
        version = self.directory_version()
        if version is None or len(address_keys) > _OWNERS_OF:
            return super().owners(address_keys)
        keys = tuple(address_keys)
        found = self._owners.get(keys, version)
        if found is None:
            found = super().owners(address_keys)
            self._owners.add(keys, found, version)
        return found

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        super().add_instance(instance, tags)
        self._run("add_search_range", instance.id)

    def _remove_emptied_instance(self, instance_id: str) -> bool:
        self._run("remove_emptied_search_range", instance_id)
        return super()._remove_emptied_instance(instance_id)

    def _search(self, tenant: Tenant, instance_id: str, condition: Condition) -> sqlite_search.Search | None:
        own_range = self._one("search_range", instance_id, tenant.account, tenant.region)
        return sqlite_search.Search(condition, own_range[0]) if own_range else None

    def add_to_index(self, entries: Sequence[ports.MailEntry]) -> None:
        super().add_to_index(entries)
        self._run("merge_mail_words", MERGED_EACH * len(entries))

    def _match(self, account: str, phrases: Sequence[Phrase]) -> str:
        return mail_match.match(account, phrases)

    def _add_words(self, entry: ports.MailEntry) -> None:
        words = (entry.sender, entry.recipients, entry.subject, entry.body)
        self._run("add_mail_words", entry.number, entry.account, *words)

    def forget_everything(self, *, instance_id: str, access_key_id: str, now: datetime) -> None:
        # Some builds of SQLite overwrite what is deleted with zeros. That takes longer than the rest, and a test need
        # not hide its mail.
        ((overwrites,),) = self.connection.execute("PRAGMA secure_delete").fetchall()
        self.connection.execute("PRAGMA secure_delete = OFF")
        try:
            super().forget_everything(instance_id=instance_id, access_key_id=access_key_id, now=now)
        finally:
            self.connection.execute(f"PRAGMA secure_delete = {overwrites}")

    def _ask(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        return self.connection.execute(query, bindable(parameters)).fetchall()

    def _fetch(self, query: str, parameters: rows.Row) -> list[Any]:
        return self._run_on(self._cursor.execute, query, parameters).fetchall()

    def _execute(self, query: str, parameters: rows.Row) -> sqlite3.Cursor:
        return self._run_on(self.connection.execute, query, parameters)

    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        self._run_on(self.connection.executemany, query, parameters)

    def _run_on(self, run: Callable[[str, Any], sqlite3.Cursor], query: str, parameters: Any) -> sqlite3.Cursor:
        """Run a named query with a method of `sqlite3`. Raises a domain error for a violated constraint."""
        if query in CHANGING:
            self.before_change()
        elif query in CHANGING_KEYS:
            self.before_change_of_keys()
        try:
            return run(QUERIES[query], parameters)
        except sqlite3.IntegrityError as error:
            raise _translated(error) from error

    def _list(self, texts: Sequence[str]) -> str:
        return to_json(texts)


def _translated(error: sqlite3.IntegrityError) -> Exception:
    """Return the domain error for a violated constraint, or the given error if only a bug can cause this violation."""
    what, _, which = str(error).partition(" constraint failed: ")
    constraint = _UNIQUE_CONSTRAINTS.get(which, which) if what == "UNIQUE" else which
    return errors.meaning(constraint) or error
