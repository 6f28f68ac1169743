"""Opens SQLite files: sets up the connection, and migrates the schema."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waypost.domain.directory import caseless
from waypost.store import migrations
from waypost.store.common import time_limits
from waypost.store.sqlite.transaction import SqliteTransaction

OLDEST_SQLITE = (3, 37)
"""The first version with STRICT tables."""


STEPS_BETWEEN_LOOKS = 1_000
"""Steps of SQLite's virtual machine between two checks of the time."""


WAL_OCTETS = 64 * 1024 * 1024
"""The size to which the write-ahead log is truncated after a burst of large messages."""


class SqliteTooOld(Exception):
    """This Python's SQLite is too old for the schema."""


def refuse_old_sqlite() -> None:
    """Raise `SqliteTooOld`, naming both versions."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise SqliteTooOld(f"SQLite {wanted} or newer is needed; this Python has {sqlite3.sqlite_version}")


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file, to write (`rw`; `rwc` makes it if it is not there) or to read it (`ro`). Raises `sqlite3.Error`."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute(f"PRAGMA busy_timeout = {time_limits.LIMITS.other_process * 1000:.0f}")
        connection.execute("PRAGMA foreign_keys = ON")
        if mode != "ro":
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL. SQLite does not wait for another process that creates it, too, so this function
    does.
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


def migrate(connection: sqlite3.Connection, *, where: str, only_new: bool = False, may_make: bool = True) -> None:
    """Bring the schema up to date. `where` names the database in errors.

    With `only_new` nothing but a new database is touched: `migrations.SchemaTooOld` is raised for one that has a
    schema and needs another. Unless it `may_make` the tables, they must be there: `migrations.SchemaMissing` is raised
    if there are none. Raises `migrations.SchemaTooNew`, `sqlite3.Error`; a migration that fails leaves nothing behind.
    """
    connection.create_function("fold", 1, caseless.fold, deterministic=True)
    if not may_make and not _has_migrations(connection):
        raise migrations.SchemaMissing(where)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"
    )
    if (
        only_new
        and _newest(connection)
        and migrations.pending("sqlite", newest_applied=_newest(connection), where=where)
    ):
        raise migrations.SchemaTooOld(f"{where} has the schema of an older Waypost.")
    while _migrated_by_one(connection, where=where):
        pass


def _migrated_by_one(connection: sqlite3.Connection, *, where: str) -> bool:
    """Run the next migration, if there is one. The next migration is read inside the transaction, so that two processes
    agree.
    """
    with exclusively(connection):
        steps = migrations.pending("sqlite", newest_applied=_newest(connection), where=where)
        for step in steps[:1]:
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?, CURRENT_TIMESTAMP)", (step.number, step.name))
    return len(steps) > 1


def _has_migrations(connection: sqlite3.Connection) -> bool:
    """Whether any migration has run."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'").fetchone()
    return found is not None and _newest(connection) > 0


def _newest(connection: sqlite3.Connection) -> int:
    """The number of the migration that ran last, 0 for a new database."""
    newest: int = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0]
    return newest


@contextmanager
def exclusively(connection: sqlite3.Connection) -> Iterator[None]:
    """An exclusive write transaction, which is rolled back if anything is raised in it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have ended it: on a full disk it does
            connection.execute("ROLLBACK")
        raise


def refuse_damage(connection: sqlite3.Connection) -> None:
    """Raise `sqlite3.DatabaseError` if the file is damaged, as far as the check finds that within the time limit."""
    deadline = time.monotonic() + time_limits.LIMITS.damage_check
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
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
    """The damage that SQLite's check found."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def why_not_opened(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> str:
    """Why a file cannot be opened, and what to do, if known."""
    if isinstance(error, UnicodeDecodeError):
        return f"{path} cannot be opened: its schema cannot be read.{_DAMAGED.format(path=path)}"
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE, "")
    return f"{path} cannot be opened: {error}.{advice.format(path=path)}"


_PRIMARY_CODE = 0xFF
"""The part of an extended error code of SQLite that says what kind of error it is."""

_DAMAGED = (
    " The file is damaged. Restore it from your backup. If there is none, `sqlite3 {path} .recover` prints as SQL what"
    " can still be read."
)
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: " Free space on its disk, and start again.",
    sqlite3.SQLITE_IOERR: " See that its disk works and has space, and start again.",
}
"""What to do about an error of SQLite, by its primary code."""


def check_seal(tx: SqliteTransaction) -> None:
    """Check that the secrets in a file were sealed by this seal, or record it for a new file."""
    with exclusively(tx.connection):
        tx.check_seal()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit by itself."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
