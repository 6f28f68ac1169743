"""Shows and runs the migrations of a PostgreSQL database, for a command."""

from waypost.app.ports.upgrades import ReportMigration, Upgrade
from waypost.store.common import upgrading
from waypost.store.postgres import migrating
from waypost.store.postgres.backups import connected
from waypost.store.postgres.connection import where

_ROWS = b"""SELECT relname, reltuples::bigint FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND reltuples >= 0"""
"""SQL that returns the number of rows of each table, as of the last VACUUM or ANALYZE."""


def plan(url: str) -> Upgrade:
    """Return the migrations that have not run on a database, which servers can use meanwhile.

    Raises `StoreUnavailable`, and `SchemaTooNew` if only a newer version of Waypost can use the database.
    """
    with connected(url) as connection:
        rows = {name: int(count) for name, count in connection.execute(_ROWS, prepare=False).fetchall()}
        return upgrading.planned("postgres", migrating.applied(connection), rows.get, where=str(where(url)))


def run(url: str, report: ReportMigration, *, may_make: bool) -> None:
    """Run the migrations on a database that servers can use meanwhile.

    If `may_make` is false, the function raises `SchemaMissing` if the database has no tables. Raises the same as
    `plan`.
    """
    with connected(url) as connection:
        migrating.migrate(connection, where(url), may_make=may_make, report=report)
