"""Copies a whole deployment from SQLite to PostgreSQL or back: the store, the master key and the owner's access key."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import msgspec

from waypost.app.ports.backups import ReportProgress
from waypost.host import backup_directory, data_directory
from waypost.host.data_directory import DataDirectory
from waypost.server import opening
from waypost.server.backups import refusing
from waypost.server.opening import Refused
from waypost.server.progress import Steps
from waypost.store.common import copying
from waypost.store.common.copying import Copied, Table, TableSum, Target
from waypost.store.sqlite import copies as sqlite_copies


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy contains."""

    tables: Mapping[str, TableSum]
    """The number of rows and the checksum of each table, which are those of the original."""

    @property
    def rows(self) -> int:
        """The number of all rows."""
        return sum(one.rows for one in self.tables.values())


def copy(
    directory: DataDirectory,
    target: DataDirectory,
    *,
    database: str = "",
    to_database: str = "",
    report: ReportProgress,
) -> Made:
    """Copy a deployment whose servers are stopped to a new data directory, from SQLite to PostgreSQL or back.

    `database` is the URL of the original's PostgreSQL database, if the data directory does not name it. `to_database`
    is the URL of an empty database for the copy; if it is empty, the copy is in SQLite. If an earlier call was
    interrupted, this call continues its copy. No server starts with a copy until it is complete and equal to the
    original. `report` is called with the progress. Raises `Refused`, `CannotStart` and `DataDirectoryError`.
    """
    database = directory.where(database)
    with refusing(), opening.of_its_owner(directory, database), ExitStack() as opened:
        directory.refuse_others()
        opening.refuse_missing(directory, database)
        _refuse_same_kind(database, to_database)
        if directory.path.resolve() == target.path.resolve():
            raise Refused(f"{target.path} has the original data. Name a new directory for the copy.")
        original, deployment_id = opened.enter_context(_original(directory, database))
        kept = backup_directory.kept_files(directory.path)
        _refuse_other(target, kept, to_database)
        if to_database:
            opening.postgres("copies").refuse_other(to_database, deployment_id)
        else:
            sqlite_copies.refuse_other(target.database, deployment_id)
        opened.enter_context(target.held())
        _write_files(target, kept, to_database)
        made: Target = opened.enter_context(
            opening.postgres("copies").target(to_database, deployment_id)
            if to_database
            else sqlite_copies.target(target.database, deployment_id)
        )
        tables = " and all tables of the new database" if to_database else ""
        return fill(original, made, report, f"Remove {target.path}{tables}, and copy the data again.")


def _refuse_same_kind(database: str, to_database: str) -> None:
    if database and to_database:
        raise Refused(
            "The data is in PostgreSQL already. Omit --to-database to copy it to SQLite. To copy it to another "
            "PostgreSQL database, use `waypost backup` and `waypost restore`."
        )
    if not database and not to_database:
        raise Refused(
            "The data is in SQLite already. Name an empty PostgreSQL database with --to-database. To copy the data to "
            "another directory, use `waypost backup` and `waypost restore`."
        )


@contextmanager
def _original(directory: DataDirectory, database: str) -> Iterator[tuple[Copied, str]]:
    """Yield the database of the original and the id of the deployment, so that no server changes the data meanwhile."""
    seal = directory.master_keys.keyring()
    if database:
        with opening.postgres("copies").source(database, seal) as found:
            yield found
    else:
        with directory.held(), sqlite_copies.source(directory.database, seal) as found:
            yield found


def _refuse_other(target: DataDirectory, kept: Mapping[str, bytes], to_database: str) -> None:
    """Raise `Refused` unless a data directory is new, empty, or one of an incomplete copy of the same deployment."""
    ours = {*backup_directory.KEPT, target.lock.name}
    # A server that was started with the incomplete copy has left files, although it ended at once.
    ends = ("", "-wal", "-shm", "-next", "-turn")
    ours |= {target.elsewhere.name} if to_database else {f"{target.database.name}{end}" for end in ends}
    with suppress(FileNotFoundError):
        names = {path.name for path in target.path.iterdir() if not data_directory.is_temporary(path.name)}
        if others := sorted(names - ours - {"lost+found"}):  # a new file system contains the directory lost+found
            raise Refused(
                f"{target.path} is not empty: it contains {backup_directory.listed(others)}. Name a new directory."
            )
        for name, octets in backup_directory.kept_files(target.path).items():
            if octets != kept.get(name):
                raise Refused(
                    f"{target.path / name} is not that of the original, so {target.path} has other data. Name a new "
                    "directory."
                )
    target.where(to_database)


def _write_files(target: DataDirectory, kept: Mapping[str, bytes], to_database: str) -> None:
    """Write the files of the data directory, except the database."""
    # If the copy is killed, a server must make neither a new database here nor a new key. So the key comes last.
    target.note_database()
    if to_database:
        target.remember_database(to_database)
    for name, octets in kept.items():
        target.write_kept(name, octets.decode())


def fill(original: Copied, made: Target, report: ReportProgress, remedy: str) -> Made:
    """Copy all rows, compare them, and complete the copy. `remedy` is a sentence for the operator.

    Raises `Refused` if the copy is not equal to the original.
    """
    tables = copying.in_order(original.tables(), made.tables())
    total = sum(map(original.count, tables))
    steps = Steps(4, report)
    copied = 0
    for table in tables:
        key = made.last_key(table)
        copied += made.count(table) if key else 0
        for rows in copying.batches(original.rows_after(table, key)):
            steps.step(min(copied, total), total)
            made.put(table, rows)
            copied += len(rows)
        made.table_done(table)
    steps.next(total)
    made.build(lambda done, parts: steps.step(total * done // max(parts, 1), total))
    sums = _sums(original, tables, steps, total)
    _refuse_different(sums, _sums(made, tables, steps, total), remedy)
    made.complete(original.counters())
    return Made(tables=sums)


def _sums(of: Copied, tables: Sequence[Table], steps: Steps, total: int) -> dict[str, TableSum]:
    read = steps.next(total).add
    return {table.name: copying.sum_of(of.rows(table), read) for table in tables}


def _refuse_different(original: Mapping[str, TableSum], made: Mapping[str, TableSum], remedy: str) -> None:
    """Raise `Refused` if a table of the copy is not equal to that of the original."""
    different = [
        f"{name} ({made[name].rows:,} rows instead of {one.rows:,})"
        if made[name].rows != one.rows
        else f"{name} (rows with other values)"
        for name, one in sorted(original.items())
        if made[name] != one
    ]
    if different:
        raise Refused(
            f"The copy is not equal to the original in {', '.join(different)}. Either a server has changed the "
            f"original since the copy was begun, or the copy is damaged. No server starts with the copy. {remedy}"
        )
