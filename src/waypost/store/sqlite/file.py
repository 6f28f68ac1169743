"""Functions that open an SQLite file, set up the connection, migrate the schema, and explain the errors of SQLite."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import waypost
from waypost.app import ports
from waypost.app.ports.upgrades import ReportMigration, silently
from waypost.domain.directory import caseless
from waypost.store import migrations
from waypost.store.common import time_limits
from waypost.store.sqlite.transaction import SqliteTransaction

OLDEST_SQLITE = (3, 37)
"""The oldest version of SQLite that Waypost works with: the first version with STRICT tables."""


STEPS_BETWEEN_CHECKS = 1_000
"""The number of steps of SQLite's virtual machine between two checks of a time limit."""


PREPARED = 400
"""The maximum number of prepared statements of a connection. An INSERT has one for each number of rows that it can
insert (`drafts.py`).
"""

WAL_OCTETS = 64 * 1024 * 1024
"""The size in bytes to which SQLite truncates the write-ahead log after a burst of large messages."""


class SqliteTooOld(Exception):
    """The SQLite library of this Python installation is too old for Waypost's schema."""


def refuse_old_sqlite() -> None:
    """Raise `SqliteTooOld` if the SQLite library is too old. The error message names the version that Waypost needs and
    the version of the library.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise SqliteTooOld(
            f"Waypost needs SQLite {wanted} or newer, but this Python has SQLite {sqlite3.sqlite_version}"
        )


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open an SQLite file. Raises `sqlite3.Error`.

    The mode is `ro` (read), `rw` (read and write), `rwc` (read and write, and create the file if it is missing), or
    `immutable` (read a file that no process writes to, without creating files beside it).
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{'immutable=1' if mode == 'immutable' else f'mode={mode}'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=PREPARED,
    )
    try:
        connection.execute(f"PRAGMA busy_timeout = {time_limits.LIMITS.other_process * 1000:.0f}")
        connection.execute("PRAGMA foreign_keys = ON")
        if mode not in ("ro", "immutable"):
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL mode.

    SQLite does not wait if another process creates the file at the same time, so this function retries.
    """
    deadline = time.monotonic() + time_limits.LIMITS.other_process
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def migrate(
    connection: sqlite3.Connection,
    *,
    where: str,
    only_new: bool = False,
    may_make: bool = True,
    report: ReportMigration = silently,
) -> None:
    """Migrate the schema to the newest version. A migration that fails is rolled back completely.

    `where` is the name of the database for error messages. If `only_new` is true, the function raises
    `migrations.SchemaTooOld` instead of migrating an old schema. If `may_make` is false, the function raises
    `migrations.SchemaMissing` instead of creating missing tables. Also raises `migrations.SchemaTooNew` for a newer
    schema, and `sqlite3.Error` if SQLite reports an error.
    """
    connection.create_function("fold", 1, caseless.fold, deterministic=True)
    if not may_make and not applied(connection):
        raise migrations.SchemaMissing(where)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"
    )
    found = applied(connection)
    if only_new and found and migrations.pending("sqlite", found, where=where):
        raise migrations.SchemaTooOld(f"{where} has the schema of an older version of Waypost.")
    while _migrated_by_one(connection, where=where, report=report):
        pass


def _migrated_by_one(connection: sqlite3.Connection, *, where: str, report: ReportMigration) -> bool:
    """Run the next migration, if there is one. Return whether more migrations remain.

    The number of the last migration is read inside the transaction, so that two processes never run the same migration.
    """
    with exclusively(connection):
        steps = migrations.pending("sqlite", applied(connection), where=where)
        for step in steps[:1]:
            with report(step.number, step.name):
                for statement in _statements(step.sql):
                    connection.execute(statement)
                _record(connection, step)
    return len(steps) > 1


def _record(connection: sqlite3.Connection, step: migrations.Migration) -> None:
    connection.execute("INSERT INTO migrations VALUES (?, ?, CURRENT_TIMESTAMP)", (step.number, step.name))
    if has_table(connection, "migration_versions"):
        row = (step.number, waypost.__version__, step.needs)
        connection.execute("INSERT INTO migration_versions VALUES (?, ?, ?)", row)


def applied(connection: sqlite3.Connection) -> list[migrations.Applied]:
    """Return the migrations that have run, in order; none for a new database."""
    if not has_table(connection, "migrations"):
        return []
    query = "SELECT number, NULL, NULL FROM migrations ORDER BY number"
    if has_table(connection, "migration_versions"):
        query = "SELECT number, waypost, needs FROM migrations LEFT JOIN migration_versions USING (number) ORDER BY 1"
    return [migrations.Applied(*row) for row in connection.execute(query)]


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether a table exists."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,))
    return found.fetchone() is not None


@contextmanager
def exclusively(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the `with` block in an exclusive write transaction. If the block raises an exception, roll the transaction
    back.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have ended the transaction itself, as it does if the disk is full
            connection.execute("ROLLBACK")
        raise


def refuse_damage(connection: sqlite3.Connection) -> None:
    """Check the file for damage, and raise `sqlite3.DatabaseError` if damage is found within the time limit."""
    deadline = time.monotonic() + time_limits.LIMITS.damage_check
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_CHECKS)
    try:
        ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise _Damaged(" ".join(str(found).split()))


class _Damaged(sqlite3.DatabaseError):
    """SQLite's integrity check found damage in the file. The error message describes the damage."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def why_not_opened(path: Path, error: sqlite3.Error | UnicodeDecodeError | OSError) -> str:
    """Return a message that says why a file cannot be opened, and what the operator can do about it, if known."""
    if isinstance(error, UnicodeDecodeError):
        return f"{path} cannot be opened: its schema cannot be read.{_DAMAGED.format(path=path)}"
    advice = getattr(error, "advice", None)
    if advice is None:
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE, "")
    return f"{path} cannot be opened: {error}.{advice.format(path=path)}"


_PRIMARY_CODE = 0xFF
"""The bit mask that extracts the primary code from an extended SQLite error code."""

_DAMAGED = (
    " The file is damaged. Restore the file from your backup. If you have no backup, `sqlite3 {path} .recover` prints "
    "the data that is still readable, as SQL."
)
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: " Free some space on the file's disk, and start Waypost again.",
    sqlite3.SQLITE_IOERR: " Check that the file's disk works and has free space, and start Waypost again.",
}
"""Advice to the operator about SQLite errors, by their primary error codes."""


def check_seal(tx: SqliteTransaction) -> None:
    """Check that the secrets in a file were encrypted with the current key. If the secrets were encrypted with another
    key, `unseal` raises an exception.

    In a new file, store a sealed value for later checks.
    """
    with exclusively(tx.connection):
        tx.check_seal()


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one. `executescript` cannot be used, because it first commits the open
    transaction.
    """
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def is_unavailable(error: sqlite3.DatabaseError) -> bool:
    """Return whether an error means that the file cannot be used now. Only a bug can cause other SQLite errors."""
    # The sqlite3 module raises DatabaseError itself, rather than a subclass, if the file is damaged.
    return type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError)


def may_be_in_log(error: Exception) -> bool:
    """Return whether a transaction that failed may be whole in the log: a system call on the file failed, among them an
    fsync of a COMMIT, or SQLite had no memory for what it does after the fsync.
    """
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, MemoryError) or code & _PRIMARY_CODE == sqlite3.SQLITE_IOERR


def unavailable(error: sqlite3.Error) -> ports.StoreUnavailable:
    """Return the exception for callers of the store."""
    return ports.StoreUnavailable(f"SQLite reported an error: {error}")
