"""Shows and runs the migrations of an SQLite file, for a command."""

from contextlib import closing
from pathlib import Path

from waypost.app.ports.upgrades import ReportMigration, Upgrade
from waypost.store import migrations
from waypost.store.common import time_limits, upgrading
from waypost.store.sqlite import failed_syncs, log_damage
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.backups import opened, translated
from waypost.store.sqlite.turn import Turn


def plan(path: Path) -> Upgrade:
    """Return the migrations that have not run on an SQLite file, which servers can use meanwhile.

    Raises `StoreUnavailable`, and `SchemaTooNew` if only a newer version of Waypost can use the file.
    """
    with translated(path), opened(path) as connection:
        connection.execute("BEGIN")

        def rows(table: str) -> int | None:
            if table not in migrations.tables("sqlite") or not sqlite_file.has_table(connection, table):
                return None
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a known name
            return int(count)

        return upgrading.planned("sqlite", sqlite_file.applied(connection), rows, where=str(path))


def run(path: Path, report: ReportMigration) -> None:
    """Run the migrations on an SQLite file that no server uses. Raises the same as `plan`, and `SchemaMissing`."""
    with translated(path):
        log_damage.refuse(path)  # a connection that may write removes the log when it is closed
    with (
        translated(path),
        failed_syncs.removal_synced(path),
        closing(sqlite_file.connect(path, "rw")) as connection,
        closing(Turn(path)) as turn,
        turn.taken_within(time_limits.LIMITS.other_process),
    ):
        failed_syncs.write_log_again(path)
        sqlite_file.migrate(connection, where=str(path), may_make=False, report=report)
