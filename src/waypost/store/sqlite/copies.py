"""Reads an SQLite file for a copy in PostgreSQL, and writes the copy of a PostgreSQL database to an SQLite file."""

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from waypost.app import ports
from waypost.app.ports.backups import ReportProgress
from waypost.store import migrations
from waypost.store.common import copying
from waypost.store.common.copying import Row, Table
from waypost.store.common.statements import Seal
from waypost.store.sqlite import backups, failed_syncs
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.transaction import QUERIES, SqliteTransaction

CACHE_KIB = 64 * 1024
"""The size of SQLite's cache of pages while it writes a copy, in KiB."""

ENTRIES_AT_ONCE = 10_000
"""The number of search entries whose trigrams one transaction adds to the index."""

PAGES_AT_ONCE = 1_000
"""The number of pages of the index of trigrams that one transaction merges."""

_NO_MERGE = 2
"""A statement that merges counts fewer changes than this if there was nothing to merge.

Source: https://www.sqlite.org/fts5.html#the_merge_command
"""

_COUNTED = ("mail_changes", "refusals")
"""The tables whose numbers continue after the last one, also if its row was removed."""


class SqliteCopied(copying.Copied):
    """An SQLite file that is read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> Mapping[str, Table]:
        existing = {name for (name,) in self._run("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        names = existing & migrations.tables("sqlite") - copying.NOT_COPIED.keys()
        return {name: copying.READ_BY_QUERY.get(name) or self._table(name) for name in sorted(names)}

    def _table(self, name: str) -> Table:
        found = self._run("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", name).fetchall()
        key = sorted((place, column) for column, place in found if place)
        return Table(name, tuple(column for column, _ in found), tuple(column for _, column in key))

    def count(self, table: Table) -> int:
        (count,) = self._run(f"SELECT count(*) FROM {_origin(table)}").fetchone()  # noqa: S608 - our own names
        return int(count)

    def rows(self, table: Table) -> Iterator[Row]:
        yield from self._run(_select(table))

    def rows_after(self, table: Table, key: Row | None) -> Iterator[Row]:
        condition = f" WHERE {copying.after_key(table, '?' * len(table.key))}" if key else ""
        yield from self._run(f"{_select(table)}{condition} {copying.ordered(table)}", *(key or ()))

    def counters(self) -> Mapping[str, int]:
        return {f"{table}.number": max(self._numbers(table)) for table in _COUNTED}

    def _numbers(self, table: str) -> list[int]:
        """Return the greatest number of a table, and the last one that SQLite gave, if it remembers it."""
        found = self._run(
            f"SELECT coalesce(max(number), 0) FROM {table}"  # noqa: S608 - our own name
            " UNION ALL SELECT seq FROM sqlite_sequence WHERE name = ?",
            table,
        )
        return [int(number) for (number,) in found]

    def _run(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, parameters)


def _origin(table: Table) -> str:
    query = copying.query_of(table)
    return f"({QUERIES[query]})" if query else table.name


def _select(table: Table) -> str:
    return f"SELECT {', '.join(table.columns)} FROM {_origin(table)}"  # noqa: S608 - our own names


class SqliteTarget(SqliteCopied, copying.Target):
    """An SQLite file that gets a copy."""

    def last_key(self, table: Table) -> Row | None:
        order = copying.ordered(table, descending=True)
        found: Row | None = self._run(
            f"SELECT {', '.join(table.key)} FROM {_origin(table)} {order} LIMIT 1"  # noqa: S608 - our own names
        ).fetchone()
        return found

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        places = ", ".join("?" * len(table.columns))
        plain = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})"  # noqa: S608 - our own names
        with sqlite_file.exclusively(self._connection):
            self._connection.executemany(QUERIES.get(f"put_copied_{table.name}", plain), rows)

    def table_done(self, table: Table) -> None:
        if table.name == "instances":
            self._run(QUERIES["add_copied_search_ranges"])

    def build(self, report: ReportProgress) -> None:
        ((entries,),) = self._run(QUERIES["count_without_search_text"]).fetchall()
        statements = self._run("SELECT number, statement FROM deferred_statements ORDER BY number").fetchall()
        groups = -(-entries // ENTRIES_AT_ONCE)
        total = groups + len(statements)
        # The statements contain the triggers that add trigrams, so the trigrams of the copied entries come first.
        for done in range(groups):
            report(done, total)
            self._run(QUERIES["add_search_texts"], ENTRIES_AT_ONCE)
        while self._merges():
            pass
        for done, (number, statement) in enumerate(statements, groups):
            report(done, total)
            with sqlite_file.exclusively(self._connection):
                self._run(statement)
                self._run("DELETE FROM deferred_statements WHERE number = ?", number)

    def _merges(self) -> bool:
        """Merge some pages of the index of trigrams. Return whether there was something to merge."""
        before = self._connection.total_changes
        self._run(QUERIES["merge_search_texts"], PAGES_AT_ONCE)
        return self._connection.total_changes - before >= _NO_MERGE

    def complete(self, counters: Mapping[str, int]) -> None:
        self._run("PRAGMA synchronous = FULL")  # this commit also syncs what earlier ones have left unsynced in the log
        with sqlite_file.exclusively(self._connection):
            # The numbers of refusals continue after the greatest number that is left, so they need nothing.
            self._run(QUERIES["remove_last_change_number"])
            self._run(QUERIES["remember_last_change_number"], counters["mail_changes.number"])
            self._run("DROP TABLE deferred_statements")
            self._run("DELETE FROM migrations WHERE number = ?", migrations.COPYING)
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def source(path: Path, seal: Seal) -> Iterator[tuple[SqliteCopied, str]]:
    """Yield an SQLite file to be copied, and the id of its deployment. No process may write to the file meanwhile.

    Raises `StoreUnavailable` if it cannot be used or its log is damaged, `SchemaTooOld` or `SchemaTooNew` if its schema
    is not the newest, and the exception from `seal.unseal` if its secrets were encrypted with another key.
    """
    with backups.translated(path), backups.opened(path) as connection:
        connection.execute("BEGIN")
        migrations.refuse_old("sqlite", newest=backups.schema_of(connection, str(path)), where=str(path))
        tx = SqliteTransaction(connection, seal)
        tx.refuse_other_seal()
        yield SqliteCopied(connection), tx.deployment_id()


@contextmanager
def target(path: Path, deployment_id: str) -> Iterator[SqliteTarget]:
    """Yield an SQLite file for the copy of a deployment: a new file, or one with an incomplete copy of the same
    deployment.

    Raises `StoreUnavailable` if the file has something else or cannot be used, and `SqliteTooOld`.
    """
    sqlite_file.refuse_old_sqlite()
    with backups.translated(path):
        if not path.exists():
            _make(path, deployment_id)
        with failed_syncs.removal_synced(path), closing(sqlite_file.connect(path, "rw")) as connection:
            _refuse_other(connection, path, deployment_id)
            # A commit is not synced by itself, because a copy can be continued. The last one is synced, see `complete`.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = OFF")  # rows refer to rows that are copied later
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            yield SqliteTarget(connection)


def refuse_other(path: Path, deployment_id: str) -> None:
    """Raise `StoreUnavailable` if a file exists and is not an incomplete copy of a deployment."""
    with backups.translated(path):
        if path.exists():
            with closing(sqlite_file.connect(path, "ro")) as connection:
                _refuse_other(connection, path, deployment_id)


def _refuse_other(connection: sqlite3.Connection, path: Path, deployment_id: str) -> None:
    begun = "SELECT name FROM migrations WHERE number = ?"
    found = None
    with suppress(sqlite3.OperationalError):  # there is no such table
        found = connection.execute(begun, (migrations.COPYING,)).fetchone()
    if found != (deployment_id,):
        raise ports.StoreUnavailable(f"{path} is not an incomplete copy of this data. Name a new directory.")


def _make(path: Path, deployment_id: str) -> None:
    """Create the file for a copy, with the newest schema, but without indexes and triggers."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
            sqlite_file.migrate(connection, where=str(path))
            with sqlite_file.exclusively(connection):
                _defer(connection)
                connection.execute(
                    "INSERT INTO migrations VALUES (?, ?, CURRENT_TIMESTAMP)", (migrations.COPYING, deployment_id)
                )
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _defer(connection: sqlite3.Connection) -> None:
    """Drop the indexes and triggers, and store the statements that create them again."""
    connection.execute("CREATE TABLE deferred_statements (number INTEGER PRIMARY KEY, statement TEXT NOT NULL) STRICT")
    found = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        " ORDER BY type, name"
    ).fetchall()
    for kind, name, statement in found:
        connection.execute("INSERT INTO deferred_statements (statement) VALUES (?)", (statement,))
        connection.execute(f"DROP {kind} {name}")
