"""Runs the queries of one transaction on PostgreSQL.

A query without a result waits in a pipeline until the next query with a result, or until the end of the transaction.
All waiting queries are then sent together, so a transaction needs only one round trip for each query with a result
(docs/scaling.md). Therefore, the error for a violated constraint may be raised later, by another method or at COMMIT.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from waypost.app import ports
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Condition
from waypost.domain.mail.mail_search import Phrase
from waypost.domain.mail.trace_events import TraceEvent
from waypost.store import sql
from waypost.store.common import rows
from waypost.store.common.statements import Seal, bindable
from waypost.store.common.transaction import Transaction
from waypost.store.postgres import mail_match
from waypost.store.postgres import search as postgres_search

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

QUERIES = {name: query.sql.encode() for name, query in sql.load("postgres").items()}

OF_QUEUE = {name for name, query in QUERIES.items() if re.search(rb"\b(FROM|UPDATE) queue\b", query)}
"""The names of the queries that search the queue. These queries are not run as prepared statements. The queue is nearly
always empty, so PostgreSQL would plan a prepared statement for an empty queue. With that plan, the query would read the
whole queue even when the queue is long."""


RECENT = 1_000
"""The number of the newest entries that a search compares with its words one by one. If they have a whole page of
results, the words are frequent, and the index would find too many messages."""


class PostgresQueries(Transaction):
    """The queries that PostgreSQL runs differently from SQLite, however they are sent to PostgreSQL."""

    def _search(self, tenant: Tenant, instance_id: str, condition: Condition) -> postgres_search.Search | None:
        return postgres_search.Search(condition, instance_id) if self.instance(tenant, instance_id) else None

    def lock_with_links(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, AliasLink | None]:
        held = self.lock_email_addresses(tenant, instance_id, ids)
        links = self.links_of(ids)  # a separate query, as `links_of` in `sql/postgres/directory.sql` explains
        return {email_address_id: links.get(email_address_id) for email_address_id in held}

    def _match(self, account: str, phrases: Sequence[Phrase]) -> str:
        return mail_match.match(account, phrases)

    def _search_words(self, *given: Any) -> list[Any]:
        *_, limit = given
        found = self._all("search_recent", *given, RECENT)
        return found if len(found) == limit else super()._search_words(*given)

    def _add_words(self, entry: ports.MailEntry) -> None:
        self._run("add_mail_vector", entry.number, mail_match.vector(entry))

    def _list(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def add_event_each(self, events: Sequence[tuple[str, TraceEvent]]) -> None:
        # One statement for all events takes PostgreSQL less time than a statement for each event.
        columns = zip(*(map(str, rows.of_next_trace_event(*event)) for event in events), strict=True)
        self._run("add_next_trace_events", *map(self._list_of, columns))

    def _search_entry(self, email_address: EmailAddress) -> rows.Row:
        texts = rows.of_search_entry(email_address)
        return (*texts, postgres_search.trigrams(texts))


class PostgresTransaction(PostgresQueries):
    """A transaction on one connection to PostgreSQL. The methods raise psycopg errors, which the store translates."""

    def __init__(self, connection: Connection, seal: Seal) -> None:
        super().__init__(seal)
        self.connection = connection
        self.pipeline: psycopg.Pipeline | None = None
        """The pipeline for the statements of this transaction, or None if each statement is sent immediately."""

    def time_of_database(self) -> float:
        """Return the time of PostgreSQL's clock, in seconds since the epoch."""
        ((seconds,),) = self._fetch("time_of_database", ())
        return float(seconds)

    def _ask(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        # Searches are not prepared, because the best plan depends on the searched values.
        return self._answered(self._cursor().execute(query.encode(), bindable(parameters), prepare=False))

    def _fetch(self, query: str, parameters: rows.Row) -> list[Any]:
        return self._answered(self._execute(query, parameters))

    def _answered(self, cursor: Cursor) -> list[Any]:
        # By itself, psycopg would send only a Flush. However, PostgreSQL considers the session idle only after a Sync.
        # PostgreSQL ends an idle session, and releases its locks, if no statement arrives in time
        # (`TimeLimits.silence`).
        if self.pipeline:
            self.pipeline.sync()
        return cursor.fetchall()

    def _execute(self, query: str, parameters: rows.Row) -> Cursor:
        return self._cursor().execute(QUERIES[query], parameters, prepare=query not in OF_QUEUE)

    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        for row in parameters:
            self._execute(query, row)

    def _cursor(self) -> Cursor:
        return self.connection.cursor(binary=True)
