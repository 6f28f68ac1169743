"""Shows and runs the migrations of a PostgreSQL database, for a command."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from waypost.app import ports
from waypost.app.ports.upgrades import ReportMigration, Upgrade
from waypost.store.common import upgrading
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import migrating
from waypost.store.postgres.connection import BadDatabase, Where
from waypost.store.postgres.transaction import Connection

_ROWS = b"""SELECT relname, reltuples::bigint FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND reltuples >= 0"""
"""SQL that returns the number of rows of each table, as of the last VACUUM or ANALYZE."""


def plan(url: str) -> Upgrade:
    """Return the migrations that have not run on a database, which servers can use meanwhile.

    Raises `StoreUnavailable`, and `SchemaTooNew` if only a newer version of Waypost can use the database.
    """
    with _connected(url) as (connection, where):
        rows = {name: int(count) for name, count in connection.execute(_ROWS, prepare=False).fetchall()}
        return upgrading.planned("postgres", migrating.applied(connection), rows.get, where=str(where))


def run(url: str, report: ReportMigration, *, may_make: bool) -> None:
    """Run the migrations on a database that servers can use meanwhile.

    If `may_make` is false, the function raises `SchemaMissing` if the database has no tables. Raises the same as
    `plan`.
    """
    with _connected(url) as (connection, where):
        migrating.migrate(connection, where, may_make=may_make, report=report)


@contextmanager
def _connected(url: str) -> Iterator[tuple[Connection, Where]]:
    """Yield a connection. Raises `StoreUnavailable` instead of errors of PostgreSQL."""
    try:
        where = postgres_connection.where(url)
        with closing(where.connect()) as connection:
            postgres_connection.set_up(connection, prepares=False)  # there may be a pooler
            yield connection, where
    except BadDatabase as error:
        raise ports.StoreUnavailable(str(error)) from error
    except psycopg.Error as error:
        raise postgres_connection.unavailable(where, error) from None
