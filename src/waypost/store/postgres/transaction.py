"""One transaction on PostgreSQL: how its queries run.

Queries without a result wait in a pipeline for the next one with a result, or for the end of the transaction, and are
sent together: a transaction has as many round trips as it has queries with results (docs/scaling.md). So a broken
constraint is raised late, by any method, or at the end.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Condition
from waypost.store import sql
from waypost.store.common import rows
from waypost.store.common.statements import Seal, bindable
from waypost.store.common.transaction import Transaction
from waypost.store.postgres import search as postgres_search

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

_QUERIES = {name: query.sql.encode() for name, query in sql.load("postgres").items()}

_OF_QUEUE = {name for name, query in _QUERIES.items() if re.search(rb"\b(FROM|UPDATE) queue\b", query)}
"""Not prepared: the queue is nearly always empty, and a plan that was made then reads all of it when it is long."""


class PostgresTransaction(Transaction):
    """A transaction on one connection. Its errors are psycopg's; the store translates them."""

    def __init__(self, connection: Connection, seal: Seal) -> None:
        super().__init__(seal)
        self.connection = connection
        self.pipeline: psycopg.Pipeline | None = None
        """The pipeline of this transaction's statements; None if each is sent by itself."""

    def _search(self, tenant: Tenant, instance_id: str, condition: Condition) -> postgres_search.Search | None:
        return postgres_search.Search(condition, instance_id) if self.instance(tenant, instance_id) else None

    def _ask(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        # Not prepared: the best way to search depends on what is searched for.
        return self._answered(self._cursor().execute(query.encode(), bindable(parameters), prepare=False))

    def _fetch(self, query: str, parameters: rows.Row) -> list[Any]:
        return self._answered(self._execute(query, parameters))

    def _answered(self, cursor: Cursor) -> list[Any]:
        # By itself psycopg would have the answer flushed. Only after a Sync does PostgreSQL know that it is our turn,
        # and gives the rows that we hold to others if nothing comes any more (`TimeLimits.silence`).
        if self.pipeline:
            self.pipeline.sync()
        return cursor.fetchall()

    def _execute(self, query: str, parameters: rows.Row) -> Cursor:
        return self._cursor().execute(_QUERIES[query], parameters, prepare=query not in _OF_QUEUE)

    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        for row in parameters:
            self._execute(query, row)

    def _cursor(self) -> Cursor:
        return self.connection.cursor(binary=True)

    def _list(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def _search_entry(self, email_address: EmailAddress) -> rows.Row:
        texts = rows.of_search_entry(email_address)
        return (*texts, postgres_search.trigrams(texts))
