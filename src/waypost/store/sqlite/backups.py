"""Copies an SQLite file while servers use it, and checks a file."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from waypost.app import ports
from waypost.app.ports.backups import CopiedStore, CopiedTable, Finding, ReportProgress
from waypost.store import migrations
from waypost.store.common import copy_format, verifying
from waypost.store.common.statements import Seal
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite import log_damage
from waypost.store.sqlite.transaction import QUERIES, SqliteTransaction

PAGES_EACH = 1_000
"""The number of pages that are copied between two reports of the progress: 4 MB."""

MOST_LINES = 100
"""The maximum number of lines that SQLite's own check returns."""


def copy(source: Path, target: Path, report: ReportProgress) -> CopiedStore:
    """Copy the SQLite file `source` to a new file. The copy is the state of the data at the beginning of the call.

    Servers can write to the source meanwhile, and do not wait. However, the write-ahead log of the source grows by all
    that they write, because SQLite keeps the state that is copied. The copy has no write-ahead log. It is not yet
    synced to disk. Raises `StoreUnavailable`, also if the log of the source is damaged, and `SchemaTooNew` if a newer
    version of Waypost has used the source.
    """
    with translated(source), opened(source) as reading:
        # SQLite would begin the copy again whenever a server has written, but not while a transaction reads the source.
        reading.execute("BEGIN")
        schema = schema_of(reading, str(source))
        (octets,) = reading.execute("PRAGMA page_size").fetchone()
        with closing(sqlite3.connect(target, isolation_level=None)) as writing:
            # The copy needs no journal, because an incomplete copy is removed. The caller syncs it.
            writing.execute("PRAGMA journal_mode = OFF")
            writing.execute("PRAGMA synchronous = OFF")

            def tell(_: int, remaining: int, total: int) -> None:
                report((total - remaining) * octets, total * octets)

            reading.backup(writing, pages=PAGES_EACH, progress=tell)
            # Otherwise everybody who reads the copy would have to create a write-ahead log beside it.
            writing.execute("PRAGMA journal_mode = DELETE")
            return CopiedStore(schema=schema, tables=dict(_counted(writing)))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file that servers may use, to read it. Raises `LogDamaged` if acknowledged transactions would be
    missing in what is read, `sqlite3.Error` and `OSError`.
    """
    log_damage.refuse(path)
    with closing(sqlite_file.connect(path, "ro")) as connection:
        yield connection


def verify(path: Path, seal: Seal | None, *, is_in_use: bool) -> Iterator[Finding]:
    """Yield everything that is wrong with an SQLite file. `seal` is None if the master key is not known.

    If `is_in_use` is false, no process may write to the file, and no file is created beside it. Raises
    `StoreUnavailable` if the file cannot be opened, `SchemaTooNew` if a newer version of Waypost has used it, and the
    exception from `seal.unseal` if its secrets were encrypted with another key.
    """
    if is_in_use:
        found = list(_damage_of_log(path))
        yield from found
        if found:  # a connection would make the index of the log again, by which the next start finds the damage too
            return
    with translated(path):
        connection = sqlite_file.connect(path, "ro" if is_in_use else "immutable")
    with closing(connection):
        try:
            connection.execute("BEGIN")
            yield from _damage(connection)
            if schema_of(connection, str(path)) < migrations.newest_known("sqlite"):
                yield Finding(verifying.TOO_OLD, path.name)
            else:
                yield from verifying.broken_rules(lambda query: connection.execute(QUERIES[query]))
                yield from verifying.damaged(lambda query, given: connection.execute(QUERIES[query], given).fetchall())
            if seal:
                SqliteTransaction(connection, seal).refuse_other_seal()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # UnicodeDecodeError: from a damaged schema
            yield Finding(f"SQLite cannot read the file: {error}.", path.name)


def broken_rules_of(folder: Path, copied: CopiedStore) -> Iterator[Finding]:
    """Yield the rows that break a rule in a copy of a PostgreSQL database, whose tables are files in a folder.

    The rows are read into a temporary database, which has the number of bytes in place of the bytes of messages. Raises
    `StoreUnavailable`.
    """
    if copied.schema < migrations.newest_known("postgres"):
        yield Finding(verifying.TOO_OLD, folder.name)
        return
    damaged = set[str]()
    with translated(folder), closing(sqlite3.connect("", isolation_level=None)) as connection:
        connection.create_function("length", 1, lambda octets: octets)
        connection.execute("BEGIN")
        for table in verifying.TABLES:
            columns, is_checked = copied.tables[table].columns, table == "message_bodies"
            places = ", ".join("?" * len(columns))
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            rows = copy_format.rows(folder / f"{table}.copy", list(columns.values()), with_bytes=is_checked)
            connection.executemany(
                f"INSERT INTO {table} VALUES ({places})",  # noqa: S608 - the name is one of our own
                verifying.checked(rows, list(columns), damaged) if is_checked else rows,
            )
            connection.execute(f"CREATE INDEX {table}_by_id ON {table} ({next(iter(columns))})")
        yield from verifying.broken_rules(lambda query: connection.execute(QUERIES[query]))
        yield from (Finding(verifying.DAMAGED, message_id) for message_id in sorted(damaged))


def _damage_of_log(path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the write-ahead log. Other errors are left to the checks of the file."""
    try:
        log_damage.refuse(path)
    except log_damage.LogDamaged as error:
        yield Finding(f"{error}. The rest of the data was not checked.", path.name)
    except (sqlite3.Error, UnicodeDecodeError, OSError):
        return


def _damage(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield what the checks of SQLite find: damage in the file, and rows that refer to missing rows."""
    for (line,) in connection.execute(f"PRAGMA integrity_check({MOST_LINES})").fetchall():
        if line != "ok":
            yield Finding("SQLite found damage:", " ".join(str(line).split()))
    missing = Counter((table, parent) for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"))
    for (table, parent), count in sorted(missing.items()):
        yield Finding(f"Rows of this table refer to missing rows of {parent}: {count}.", table)


def schema_of(connection: sqlite3.Connection, where: str) -> int:
    """Return the number of the newest migration that has run. Raises `SchemaTooNew` or `StoreUnavailable`."""
    try:
        applied = sqlite_file.applied(connection)
    except sqlite3.OperationalError:
        applied = []
    if not applied:
        raise ports.StoreUnavailable(f"{where} contains none of Waypost's tables.")
    migrations.refuse_newer("sqlite", applied, where=where)
    return migrations.newest_of(applied)


def _counted(connection: sqlite3.Connection) -> Iterator[tuple[str, CopiedTable]]:
    """Yield the name of each table of Waypost, and the number of its rows."""
    existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table in sorted(existing & migrations.tables("sqlite")):
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name of a migration
        yield table, CopiedTable(rows)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise `StoreUnavailable` instead of SQLite's errors in the `with` block."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        raise ports.StoreUnavailable(sqlite_file.why_not_opened(path, error)) from error
