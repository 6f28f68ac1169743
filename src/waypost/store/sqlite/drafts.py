"""Decides writes before the turn of their process, so that the turn is short.

Most messages are accepted by a use case that only looks up the owners of its recipients and then inserts rows. The
drafting runs such a use case on the event loop, with owners that are read from the file or from a cache, and collects
the rows in a draft. In its turn, the writer inserts the rows of all drafts with a few statements. A draft is valid if
the version of the directory and the routes is still the same (`turn.py`). If it is not, or if the use case does
anything else, the writer runs the use case in its turn (docs/decisions/0042-decided-before-the-turn.md).
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, NoReturn

from msgspec import Struct

from waypost.app import ports
from waypost.domain.mail.routes import Route
from waypost.store.common import rows
from waypost.store.common.statements import Seal
from waypost.store.common.transaction import Transaction
from waypost.store.sql import inserts
from waypost.store.sqlite.transaction import CHANGING, CHANGING_KEYS, QUERIES, SqliteTransaction

ROWS = 32
"""The maximum number of rows that one statement inserts. Each number of rows has its own prepared statement."""

_INSERTS = {name for name, sql in QUERIES.items() if name not in CHANGING | CHANGING_KEYS and inserts.only_inserts(sql)}
"""The names of the queries that only insert one row, and change neither the directory nor the access keys."""


class NeedsTurn(BaseException):
    """A use case cannot be drafted, because it does more than look up owners and insert rows.

    This class is not an `Exception`, so that no use case catches it by mistake.
    """


class Draft(Struct, frozen=True):
    """The result of a use case, and the rows that must be inserted before the result is true."""

    version: int
    """The version of the directory and the routes for which the draft is valid."""
    result: Any
    inserts: list[tuple[str, rows.Row]]
    """Named queries with their parameters, in order."""


class Drafting(Transaction):
    """The transaction that a use case sees while it is drafted. One object serves all use cases, one after the other.

    It reads with a read-only connection, outside a transaction.
    """

    def __init__(self, reading: SqliteTransaction, seal: Seal) -> None:
        super().__init__(seal)
        self._reading = reading
        self._inserts: list[tuple[str, rows.Row]] = []

    def draft(self, use_case: Callable[[ports.WriteTx], Any]) -> Draft | None:
        """Run a use case. Return None if the writer must run it in its turn, also because it raised an exception, which
        a newer state of the directory may avoid.
        """
        version = self._reading.directory_version()
        if version is None:
            return None
        self._inserts = []
        try:
            result = use_case(self)
        except (NeedsTurn, Exception):  # noqa: BLE001 - the writer runs the use case again, and reports its exception
            return None
        return Draft(version, result, self._inserts)

    def owners(self, address_keys: Sequence[str]) -> ports.Owners:
        return self._reading.owners(address_keys)

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        return self._reading.stored_routes(revision)

    def _execute(self, query: str, parameters: rows.Row) -> None:
        if query not in _INSERTS:
            raise NeedsTurn
        self._inserts.append((query, parameters))

    def _execute_each(self, query: str, parameters: Iterable[rows.Row]) -> None:
        if query not in _INSERTS:
            raise NeedsTurn
        self._inserts += [(query, row) for row in parameters]

    def _fetch(self, query: str, parameters: rows.Row) -> NoReturn:  # noqa: ARG002
        raise NeedsTurn

    def _ask(self, query: str, parameters: Sequence[Any]) -> NoReturn:  # noqa: ARG002
        raise NeedsTurn

    def _search(self, tenant: object, instance_id: str, condition: object) -> NoReturn:  # noqa: ARG002
        raise NeedsTurn

    def _list(self, texts: Sequence[str]) -> NoReturn:  # noqa: ARG002
        raise NeedsTurn

    def _match(self, account: str, phrases: object) -> NoReturn:  # noqa: ARG002
        raise NeedsTurn

    def _add_words(self, entry: object) -> NoReturn:  # noqa: ARG002
        raise NeedsTurn


def insert(connection: sqlite3.Connection, drafts: Iterable[Draft]) -> None:
    """Insert the rows of all drafts. Raises `sqlite3.Error`."""
    for sql, values in _statements(drafts):
        connection.execute(sql, values)


def _statements(drafts: Iterable[Draft]) -> Iterator[tuple[str, list[Any]]]:
    """Return the statements that insert the rows of all drafts. One statement inserts several rows.

    The tables are in the order in which the use cases inserted into them, because rows refer to rows of other tables.
    """
    inserted: dict[str, list[rows.Row]] = {}
    for draft in drafts:
        for query, row in draft.inserts:
            inserted.setdefault(query, []).append(row)
    for query, all_rows in inserted.items():
        for start in range(0, len(all_rows), ROWS):
            group = all_rows[start : start + ROWS]
            yield _insert(query, len(group)), list(chain.from_iterable(group))


@cache
def _insert(query: str, count: int) -> str:
    """Return the SQL that inserts `count` rows with a named query."""
    return inserts.of_rows(QUERIES[query], count)
