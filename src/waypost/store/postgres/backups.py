"""Copies the tables of a PostgreSQL database to files and back, and checks a database.

Each file has the rows of one table in the text format of COPY, with the columns that the manifest lists.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import psycopg

from waypost.app import ports
from waypost.app.ports.backups import CopiedStore, CopiedTable, Finding, ReportProgress
from waypost.store import migrations
from waypost.store.common import verifying
from waypost.store.common.statements import Seal
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import migrating
from waypost.store.postgres.connection import BadDatabase
from waypost.store.postgres.transaction import QUERIES, Connection, PostgresTransaction
from waypost.store.sql import kinds

BLOCK = 256 * 1024
"""The number of bytes of a file that are sent to PostgreSQL at a time."""

MOST_NAMED = 5
"""The maximum number of tables that a message names."""

_FORMAT = b"SELECT set_config('bytea_output', 'hex', true), set_config('datestyle', 'ISO', true)"
"""SQL that sets how values are written, for one transaction."""

_COLUMNS = """SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attidentity <> ''
    FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY a.attnum"""

EXISTING = b"""SELECT c.relname, pg_table_size(c.oid) FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY c.relname"""

_REFERENCES = b"""SELECT c.relname, r.relname
    FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_class AS r ON r.oid = k.confrelid
    WHERE k.contype = 'f' AND c.oid <> r.oid AND c.relnamespace = current_schema()::regnamespace"""


def copy(url: str, folder: Path, report: ReportProgress) -> CopiedStore:
    """Write the rows of each table to a new file `NAME.copy` in a new folder. The copy is the state of the data at the
    beginning of the call.

    Servers can write meanwhile, and do not wait. Only a migration waits. Raises `StoreUnavailable`, and `SchemaTooNew`
    if a newer version of Waypost has used the database.
    """
    with snapshot(url) as connection:
        schema = schema_of(connection, url)
        ours = migrations.tables("postgres")
        sizes = {name: int(size) for name, size in rows_of(connection, EXISTING) if name in ours}
        total, done = sum(sizes.values()), 0
        folder.mkdir()
        tables, counters = dict[str, CopiedTable](), dict[str, int]()
        for name, size in sizes.items():
            columns = connection.execute(_COLUMNS, (name,)).fetchall()
            types = {column: kind for column, kind, _ in columns}
            rows = octets = 0
            with (folder / f"{name}.copy").open("xb") as file:
                for block in _blocks(connection, name, types):
                    file.write(block)
                    rows += block.count(b"\n")  # in COPY's text format, each row is one line
                    octets += len(block)
                    report(done + min(octets, size), total)
            tables[name] = CopiedTable(rows, types)
            counted = [column for column, _, is_counted in columns if is_counted]
            counters |= {f"{name}.{column}": last_value(connection, name, column) for column in counted}
            done += size
        report(total, total)
    return CopiedStore(schema=schema, tables=tables, counters=counters)


def _blocks(connection: Connection, table: str, columns: Iterable[str]) -> Iterator[bytes]:
    """Yield the rows of a table in COPY's text format, in blocks."""
    with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) TO STDOUT".encode()) as copied:
        for block in copied:
            yield bytes(block)


def last_value(connection: Connection, table: str, column: str) -> int:
    """Return the last value of a column that PostgreSQL counts up; 0 if there was none."""
    ((sequence,),) = connection.execute("SELECT pg_get_serial_sequence($1, $2)", (table, column)).fetchall()
    ((last, is_called),) = rows_of(connection, f"SELECT last_value, is_called FROM {sequence}".encode())  # noqa: S608
    return int(last) if is_called else 0


def refuse_filled(url: str) -> None:
    """Raise `StoreUnavailable` if a database already has tables, or cannot be used."""
    with snapshot(url) as connection:
        refuse_tables(connection, url)


def refuse_tables(connection: Connection, url: str, option: str = "--database") -> None:
    """Raise `StoreUnavailable` if a database already has tables. `option` is the one that names the database."""
    if names := [name for name, _ in rows_of(connection, EXISTING)]:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        raise ports.StoreUnavailable(
            f"{postgres_connection.where(url)} is not empty: it has the tables {', '.join(names[:MOST_NAMED])}{more}. "
            f"Name an empty database with {option}."
        )


def restore(url: str, folder: Path, copied: CopiedStore, now: datetime, read: Callable[[int], object]) -> None:
    """Make the tables in an empty database, with the schema that the copy has, and insert the rows of the files.

    One transaction does all of it. Deliveries that a server was attempting are free from the time `now` on, because no
    server attempts them here. `read` is called with the number of bytes of each part. Raises `StoreUnavailable`.
    """
    where = postgres_connection.where(url)
    if unknown := sorted(copied.tables.keys() - migrations.tables("postgres")):
        raise ports.StoreUnavailable(f"The backup has tables that are not those of Waypost: {', '.join(unknown)}.")
    with connected(url) as connection:
        with connection.transaction():
            prepare(connection)
            migrating.make_schema(connection, copied.schema, refuse=lambda: refuse_tables(connection, url))
            for table in _in_order(connection, copied.tables):
                found = _copy_in(connection, table, copied.tables[table].columns, folder / f"{table}.copy", read)
                if found != copied.tables[table].rows:
                    raise ports.StoreUnavailable(
                        f"{where} has taken {found} of {copied.tables[table].rows} rows of {table}"
                    )
            if "queue" in copied.tables:  # the first schemas have no queue
                connection.execute(QUERIES["release_all"], (kinds.to_milliseconds(now),))
            _continue_counters(connection, copied)
        analyze(connection)


def prepare(connection: Connection) -> None:
    """Remove the time limits of the open transaction, and set how values are written in it."""
    connection.execute(postgres_connection.NO_LIMITS, prepare=False)
    connection.execute(_FORMAT, prepare=False)


def analyze(connection: Connection) -> None:
    """Compute the statistics of all tables without a time limit. Without them, PostgreSQL would read whole tables."""
    with connection.transaction():
        prepare(connection)
        connection.execute(b"ANALYZE")


def _continue_counters(connection: Connection, copied: CopiedStore) -> None:
    """Let the columns that PostgreSQL counts up continue after their last values."""
    for counter, last in copied.counters.items():
        table, _, column = counter.partition(".")
        count_on(connection, table, column, last)


def count_on(connection: Connection, table: str, column: str, last: int) -> None:
    """Let a column that PostgreSQL counts up continue after a value; 0 if there was none."""
    connection.execute("SELECT setval(pg_get_serial_sequence($1, $2), greatest($3, 1), $3 > 0)", (table, column, last))


def _in_order(connection: Connection, tables: Iterable[str]) -> list[str]:
    """Return the tables so that each comes after those that it refers to."""
    graph: dict[str, set[str]] = {table: set() for table in tables}
    for table, other in rows_of(connection, _REFERENCES):
        if table in graph:
            graph[table].add(other)
    return [table for table in TopologicalSorter(graph).static_order() if table in graph]


def _copy_in(
    connection: Connection, table: str, columns: Iterable[str], path: Path, read: Callable[[int], object]
) -> int:
    """Insert the rows of a file into a table, and return their number."""
    cursor = connection.cursor()
    with (
        path.open("rb") as file,
        cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as rows,
    ):
        while block := file.read(BLOCK):
            rows.write(block)
            read(len(block))
    return cursor.rowcount


def verify(url: str, seal: Seal) -> Iterator[Finding]:
    """Yield everything that is wrong with a database. Raises `StoreUnavailable`, `SchemaTooNew` if a newer version of
    Waypost has used it, and the exception from `seal.unseal` if its secrets were encrypted with another key.
    """
    with snapshot(url) as connection:
        where = str(postgres_connection.where(url))
        if schema_of(connection, url) < migrations.newest_known("postgres"):
            yield Finding(verifying.TOO_OLD, where)
            return
        yield from verifying.broken_rules(lambda query: rows_of(connection, QUERIES[query]))
        yield from verifying.damaged(lambda query, given: connection.execute(QUERIES[query], given).fetchall())
        PostgresTransaction(connection, seal).refuse_other_seal()


def schema_of(connection: Connection, url: str) -> int:
    """Return the number of the newest migration that has run. Raises `SchemaTooNew` or `StoreUnavailable`."""
    where = str(postgres_connection.where(url))
    applied = migrating.applied(connection)
    if not applied:
        raise ports.StoreUnavailable(f"{where} contains none of Waypost's tables.")
    migrations.refuse_newer("postgres", applied, where=where)
    return migrations.newest_of(applied)


def rows_of(connection: Connection, query: bytes) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    return connection.execute(query, prepare=False).fetchall()


@contextmanager
def snapshot(url: str) -> Iterator[Connection]:
    """Yield a connection in a transaction whose queries all see the same data, and that has no time limits."""
    with connected(url) as connection:
        connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        prepare(connection)
        yield connection


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Yield a connection. Raises `StoreUnavailable` instead of errors of PostgreSQL, which can quote data."""
    try:
        where = postgres_connection.where(url)
        with closing(where.connect()) as connection:
            postgres_connection.set_up(connection, prepares=False)  # there may be a pooler
            yield connection
    except BadDatabase as error:
        raise ports.StoreUnavailable(str(error)) from error
    except psycopg.Error as error:
        raise postgres_connection.unavailable(where, error) from None
