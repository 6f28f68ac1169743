"""Reads a PostgreSQL database for a copy in SQLite, and writes the copy of an SQLite file to a PostgreSQL database."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql as psycopg_sql

from waypost.app import ports
from waypost.app.ports.backups import ReportProgress
from waypost.store import migrations
from waypost.store.common import copying, time_limits
from waypost.store.common.copying import Row, Table
from waypost.store.common.statements import Seal
from waypost.store.postgres import backups, migrating
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import errors as postgres_errors
from waypost.store.postgres.search import trigrams
from waypost.store.postgres.transaction import QUERIES, Connection, PostgresTransaction

PAUSE = 0.05
"""The number of seconds between two looks for sessions of servers."""

_BOOLEAN = psycopg.adapters.types["bool"].oid

_KEY = """SELECT a.attname
    FROM pg_index AS i CROSS JOIN unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indrelid = to_regclass($1) AND i.indisprimary ORDER BY k.place"""

_COUNTED = b"""SELECT c.relname, a.attname
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND a.attidentity <> '' ORDER BY 1, 2"""

_DEFERRED = b"""SELECT 1 AS kind, c.relname AS name, format('DROP INDEX %I', c.relname), pg_get_indexdef(c.oid)
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relnamespace = current_schema()::regnamespace
      AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 2, k.conname, format('ALTER TABLE %I DROP CONSTRAINT %I', c.relname, k.conname),
           format('ALTER TABLE %I ADD CONSTRAINT %I %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
    WHERE k.contype = 'f' AND c.relnamespace = current_schema()::regnamespace
    ORDER BY kind, name"""
"""SQL that returns, for each index and foreign key, the statements that drop it and create it again. The indexes of
primary keys and unique constraints stay, because each batch is checked with them."""

_TAKE_LOCK = f"SELECT pg_try_advisory_xact_lock({0x7761_7970_6F73_7403})".encode()
"""SQL that tries to take the lock for one copy to a database. Its number follows those of the locks in `migrating`."""

_LOCK_WITHIN, _TRY_EVERY = 5.0, 0.1
"""For how long a copy tries to take this lock, and the time between two attempts, in seconds."""

_SERVED = b"""SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'waypost'"""


class PostgresCopied(copying.Copied):
    """A PostgreSQL database that is read on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tables(self) -> Mapping[str, Table]:
        existing = {name for name, _ in backups.rows_of(self._connection, backups.EXISTING)}
        names = existing & migrations.tables("postgres") - copying.NOT_COPIED.keys()
        return {name: copying.READ_BY_QUERY.get(name) or self._table(name) for name in sorted(names)}

    def _table(self, name: str) -> Table:
        key = tuple(column for (column,) in self._connection.execute(_KEY, (name,)).fetchall())
        return Table(name, tuple(self._types(f"SELECT * FROM {name}")), key)  # noqa: S608 - a name of a migration

    def _types(self, select: str) -> Mapping[str, int]:
        """Return the columns of a query in their order, and the ids of their types."""
        described = self._connection.execute(f"{select} LIMIT 0".encode()).description
        return {column.name: column.type_code for column in described or ()}

    def count(self, table: Table) -> int:
        ((count,),) = backups.rows_of(self._connection, f"SELECT count(*) FROM {_origin(table)}".encode())  # noqa: S608
        return int(count)

    def rows(self, table: Table) -> Iterator[Row]:
        return self._read(self._select(table))

    def rows_after(self, table: Table, key: Row | None) -> Iterator[Row]:
        condition = ""
        if key:
            places = [psycopg_sql.Literal(value).as_string(self._connection) for value in key]
            condition = f" WHERE {copying.after_key(table, places)}"
        return self._read(f"{self._select(table)}{condition} {copying.ordered(table)}")

    def _select(self, table: Table) -> str:
        plain = f"SELECT {', '.join(table.columns)} FROM {_origin(table)}"  # noqa: S608 - our own names
        read = (
            f"{column}::integer AS {column}" if kind == _BOOLEAN else column
            for column, kind in self._types(plain).items()
        )
        return f"SELECT {', '.join(read)} FROM {_origin(table)}"  # noqa: S608 - our own names

    def _read(self, select: str) -> Iterator[Row]:
        """Yield the rows of a query. They are read one by one, so that they need little memory."""
        types = list(self._types(select).values())
        with self._connection.cursor().copy(f"COPY ({select}) TO STDOUT (FORMAT binary)".encode()) as copied:
            copied.set_types(types)
            yield from copied.rows()

    def counters(self) -> Mapping[str, int]:
        return {
            f"{table}.{column}": backups.last_value(self._connection, table, column)
            for table, column in backups.rows_of(self._connection, _COUNTED)
        }


def _origin(table: Table) -> str:
    query = copying.query_of(table)
    return f"({QUERIES[query].decode()}) AS copied" if query else table.name


class PostgresTarget(PostgresCopied, copying.Target):
    """A PostgreSQL database that gets a copy."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._types_of: dict[str, Mapping[str, int]] = {}

    def count(self, table: Table) -> int:
        with self._transaction():
            return super().count(table)

    def rows(self, table: Table) -> Iterator[Row]:
        with self._transaction():
            yield from super().rows(table)

    def last_key(self, table: Table) -> Row | None:
        order = copying.ordered(table, descending=True)
        select = f"SELECT {', '.join(table.key)} FROM {_origin(table)} {order} LIMIT 1"  # noqa: S608 - our own names
        with self._transaction():
            found = backups.rows_of(self._connection, select.encode())
        return found[0] if found else None

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        columns, written = _written(table, rows)
        types = self._types_of_table(table.name)
        kinds = [types[column] for column in columns]
        booleans = [place for place, kind in enumerate(kinds) if kind == _BOOLEAN]
        with self._transaction():
            statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
            with self._connection.cursor().copy(statement.encode()) as copied:
                copied.set_types(kinds)
                for row in written:
                    copied.write_row(_with_booleans(row, booleans) if booleans else row)

    def _types_of_table(self, name: str) -> Mapping[str, int]:
        if name not in self._types_of:
            self._types_of[name] = self._types(f"SELECT * FROM {name}")  # noqa: S608 - a name of a migration
        return self._types_of[name]

    def table_done(self, table: Table) -> None:
        pass

    def build(self, report: ReportProgress) -> None:
        statements = backups.rows_of(
            self._connection, b"SELECT number, statement FROM deferred_statements ORDER BY number"
        )
        for done, (number, statement) in enumerate(statements):
            report(done, len(statements))
            with self._transaction():
                self._connection.execute(statement.encode())
                self._connection.execute("DELETE FROM deferred_statements WHERE number = $1", (number,))
        backups.analyze(self._connection)

    def complete(self, counters: Mapping[str, int]) -> None:
        with self._transaction():
            for table, column in backups.rows_of(self._connection, _COUNTED):
                ((greatest,),) = backups.rows_of(
                    self._connection,
                    f"SELECT coalesce(max({column}), 0) FROM {table}".encode(),  # noqa: S608 - names of a migration
                )
                backups.count_on(self._connection, table, column, max(greatest, counters.get(f"{table}.{column}", 0)))
            self._connection.execute(b"DROP TABLE deferred_statements")
            self._connection.execute("DELETE FROM migrations WHERE number = $1", (migrations.COPYING,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the `with` block in a transaction without time limits, whose commit is synchronous."""
        with self._connection.transaction():
            backups.prepare(self._connection)
            postgres_connection.commit_durably(self._connection)
            yield


def _written(table: Table, rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """Return the columns of a table that are written, and their values."""
    if table.name == "search_entries":
        columns = ["number" if column == "place" else column for column in table.columns]
        return [*columns, "trigrams"], [(*row, trigrams([str(text) for text in row[-3:]])) for row in rows]
    if table.name == "mail_entries":
        # The words are not in the index yet. A note without an account never has words.
        account = table.columns.index("account")
        return [*table.columns, "is_indexed"], [(*row, not row[account]) for row in rows]
    return table.columns, rows


def _with_booleans(row: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    written = list(row)
    for place in places:
        written[place] = bool(written[place])
    return written


@contextmanager
def source(url: str, seal: Seal) -> Iterator[tuple[PostgresCopied, str]]:
    """Yield a PostgreSQL database to be copied, and the id of its deployment. Nobody can write to the database
    meanwhile.

    Raises `StoreUnavailable` if it cannot be used or if servers use it, `SchemaTooOld` or `SchemaTooNew` if its schema
    is not the newest, and the exception from `seal.unseal` if its secrets were encrypted with another key.
    """
    with backups.connected(url) as connection:
        where = postgres_connection.where(url)
        newest = backups.schema_of(connection, url)
        migrations.refuse_old("postgres", newest=newest, where=str(where))
        _refuse_served(connection, str(where))
        existing = {name for name, _ in backups.rows_of(connection, backups.EXISTING)}
        names = ", ".join(sorted(existing & migrations.tables("postgres")))
        # The lock comes before the first query, so that the transaction sees everything that was committed before it.
        connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            connection.execute(f"SET LOCAL lock_timeout = '{time_limits.LIMITS.held_row * 1000:.0f}'".encode())
            connection.execute(f"LOCK TABLE {names} IN SHARE MODE".encode())
        except psycopg.errors.LockNotAvailable as error:
            raise ports.StoreUnavailable(
                f"{where} is written to by another program. Stop all servers that use this database."
            ) from error
        backups.prepare(connection)
        tx = PostgresTransaction(connection, seal)
        tx.refuse_other_seal()
        yield PostgresCopied(connection), tx.deployment_id()


def _refuse_served(connection: Connection, where: str) -> None:
    """Raise `StoreUnavailable` if servers are connected to a database: the copy would lack what they accept later."""
    deadline = time.monotonic() + time_limits.LIMITS.held_row
    while (sessions := backups.rows_of(connection, _SERVED)[0][0]) and time.monotonic() < deadline:
        time.sleep(PAUSE)  # a server that has just stopped may still have sessions
    if sessions:
        raise ports.StoreUnavailable(
            f"{where} is used by servers: {sessions} {'session' if sessions == 1 else 'sessions'} of Waypost. Stop all "
            "servers that use this database. If a pooler keeps the sessions, wait until it has closed them."
        )


@contextmanager
def target(url: str, deployment_id: str) -> Iterator[PostgresTarget]:
    """Yield a PostgreSQL database for the copy of a deployment. It is empty, or has an incomplete copy of the same
    deployment.

    Raises `StoreUnavailable` if the database has something else or cannot be used.
    """
    with _alone(url), backups.connected(url) as connection:
        where = postgres_connection.where(url)
        if not _is_begun(connection, deployment_id):
            with connection.transaction():
                backups.prepare(connection)
                migrating.make_schema(
                    connection,
                    migrations.newest_known("postgres"),
                    refuse=lambda: backups.refuse_tables(connection, url, "--to-database"),
                )
                _defer(connection)
                connection.execute("INSERT INTO migrations VALUES ($1, $2, now())", (migrations.COPYING, deployment_id))
        try:
            yield PostgresTarget(connection)
        except psycopg.IntegrityError as error:
            raise ports.StoreUnavailable(
                f"{where} did not take the data: {postgres_errors.name(error)} of {error.diag.constraint_name}. Either "
                "the original is damaged, which `waypost verify` says, or another program has changed the copy. If it "
                "has, drop all tables of this database, and copy the data again."
            ) from None


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """Run the `with` block while no other process copies data to a database. Raises `StoreUnavailable`.

    An open transaction on a second connection holds the lock, so that a pooler does not give the session away. If the
    machine of this process loses its power, PostgreSQL ends the transaction within half a minute.
    """
    with backups.connected(url) as holder:
        holder.execute(b"BEGIN")
        holder.execute(postgres_connection.NO_LIMITS)
        postgres_connection.probe_during_transaction(holder)
        # PostgreSQL may not have noticed yet that an interrupted copy has ended.
        give_up = time.monotonic() + _LOCK_WITHIN
        while not (has_lock := backups.rows_of(holder, _TAKE_LOCK) == [(True,)]) and time.monotonic() < give_up:
            time.sleep(_TRY_EVERY)
        if not has_lock:
            raise ports.StoreUnavailable(
                f"Another `waypost copy` is writing to {postgres_connection.where(url)}. Wait until it has ended."
            )
        yield


def refuse_other(url: str, deployment_id: str) -> None:
    """Raise `StoreUnavailable` if a database is neither empty nor an incomplete copy of a deployment."""
    with backups.connected(url) as connection:
        if not _is_begun(connection, deployment_id):
            backups.refuse_tables(connection, url, "--to-database")


def _is_begun(connection: Connection, deployment_id: str) -> bool:
    """Return whether a database has an incomplete copy of a deployment."""
    ((table,),) = backups.rows_of(connection, b"SELECT to_regclass('migrations')::text")
    if not table:
        return False
    found = connection.execute("SELECT name FROM migrations WHERE number = $1", (migrations.COPYING,)).fetchall()
    return found == [(deployment_id,)]


def _defer(connection: Connection) -> None:
    """Drop the indexes and foreign keys, and store the statements that create them again."""
    found = backups.rows_of(connection, _DEFERRED)
    connection.execute(b"CREATE TABLE deferred_statements (number BIGINT PRIMARY KEY, statement TEXT NOT NULL)")
    for number, (_, _, drop, create) in enumerate(found):
        connection.execute("INSERT INTO deferred_statements VALUES ($1, $2)", (number, create))
        connection.execute(drop.encode())
