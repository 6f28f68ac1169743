"""Makes, checks and restores backups of a whole deployment: the store, the master key and the owner's access key."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import waypost
from waypost.app import ports
from waypost.app.ports.backups import Finding, ReportProgress
from waypost.domain import moments
from waypost.host import backup_directory, disk, master_key, sealing
from waypost.host.backup_directory import BadBackup, Manifest
from waypost.host.clock import now
from waypost.host.data_directory import DataDirectory
from waypost.server import opening, runtime
from waypost.server.opening import Refused
from waypost.server.progress import Parts, Steps
from waypost.store import migrations
from waypost.store.migrations import SchemaTooNew, SchemaTooOld
from waypost.store.sqlite import backups as sqlite_backups
from waypost.store.sqlite.file import SqliteTooOld

SQLITE, POSTGRES = "sqlite", "postgres"
"""The kinds of databases, as the manifest names them."""


def back_up(directory: DataDirectory, target: Path, *, database: str = "", report: ReportProgress) -> Manifest:
    """Write a backup of a deployment to a new or empty directory, whether or not servers use the deployment.

    The backup has everything that was acknowledged before the call. `database` is the URL of the PostgreSQL database,
    if the data directory does not name it. `report` is called with the progress. Raises `Refused`, `CannotStart` and
    `DataDirectoryError`.
    """
    database = directory.where(database)
    with refusing(), opening.of_its_owner(directory, database):
        directory.refuse_others()
        opening.refuse_missing(directory, database)
        steps = Steps(2, report)
        with backup_directory.written(target) as place:
            began_at, kept = now(), backup_directory.kept_files(directory.path)
            if database:
                copied = opening.postgres("backups").copy(database, place / backup_directory.TABLES, steps.step)
            else:
                _refuse_small_disk(directory.database, target, place)
                copied = sqlite_backups.copy(directory.database, place / backup_directory.DATABASE, steps.step)
            if backup_directory.kept_files(directory.path) != kept:
                raise BadBackup("The keys were changed while the backup was made. Make the backup again.")
            for name, octets in kept.items():
                (place / name).write_bytes(octets)
            names = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
            read = steps.next(sum((place / name).stat().st_size for name in names)).add
            manifest = Manifest(
                waypost=waypost.__version__,
                store=POSTGRES if database else SQLITE,
                began_at=moments.iso8601(began_at),
                ended_at=moments.iso8601(now()),
                master_key=backup_directory.IN_FILE if _has_key(kept) else backup_directory.IN_ENVIRONMENT,
                copied=copied,
                files={name: backup_directory.facts_of(place / name, read) for name in names},
            )
            (place / backup_directory.MANIFEST).write_text(backup_directory.text_of(manifest), encoding="utf-8")
    return manifest


def _refuse_small_disk(database: Path, target: Path, place: Path) -> None:
    """Raise `BadBackup` if a copy of an SQLite file has no room, so that the copy does not fill the server's disk."""
    with suppress(FileNotFoundError):
        free, needed = disk.free_octets(place), database.stat().st_size
        if free < needed:
            raise BadBackup(
                f"The disk of {target} has {free >> 20:,} MiB free, but the backup needs {needed >> 20:,} MiB."
            )


def _has_key(kept: dict[str, bytes]) -> bool:
    return "master.key" in kept and not master_key.is_master_key_in_environment()


def restore(source: Path, directory: DataDirectory, *, database: str = "", report: ReportProgress) -> Manifest:
    """Restore a backup to a new or empty data directory and, if the backup is of PostgreSQL, to an empty database with
    the URL `database`.

    All checksums are checked before anything is written. The database is written last, and all of it or nothing. From
    an incomplete data directory, no server starts. If the restore fails, what it wrote is removed. Raises `Refused`,
    `CannotStart` and `DataDirectoryError`, also if a server of a newer version of Waypost made the backup.
    """
    with refusing():
        manifest = backup_directory.read_manifest(source)
        _refuse_unfit(manifest, source, database)
        steps, total = Steps(2, report), _octets(manifest)
        steps.step(0, total)
        if wrong := next(backup_directory.wrong_files(source, manifest, Parts(steps, total).add), None):
            raise BadBackup(f"{source / wrong[0]}: {wrong[1]} Nothing was restored. Use another backup.")
        _refuse_filled(directory)
        if database:
            opening.postgres("backups").refuse_filled(database)
        with runtime.new_files_are_private(), directory.held(), _undone(directory):
            _refuse_filled(directory, apart_from=directory.lock.name)
            directory.note_database()  # first, so that no server makes a new database here if the restore is killed
            for name in backup_directory.KEPT:
                if name in manifest.files:
                    directory.write_kept(name, (source / name).read_text(encoding="utf-8"))
            read = steps.next(total).add
            if database:
                directory.remember_database(database)
                opening.postgres("backups").restore(
                    database, source / backup_directory.TABLES, manifest.copied, now(), read
                )
            else:
                name = backup_directory.DATABASE
                backup_directory.copy_file(source / name, directory.database, manifest.files[name], read)
    return manifest


def _octets(manifest: Manifest) -> int:
    return sum(facts.size for facts in manifest.files.values())


def _refuse_unfit(manifest: Manifest, source: Path, database: str) -> None:
    """Raise `BadBackup` or `SchemaTooNew` if this version, or this kind of database, cannot have the backup's data."""
    newest = migrations.newest_known(manifest.store)
    if manifest.copied.schema > newest:
        raise SchemaTooNew(
            f"{source} was made by version {manifest.waypost} of Waypost and has schema {manifest.copied.schema}, but "
            f"this version knows schemas only up to {newest}. Restore the backup with version {manifest.waypost} or a "
            "newer one."
        )
    if manifest.store == POSTGRES and not database:
        raise BadBackup(f"{source} is a backup of PostgreSQL. Name an empty database with --database.")
    if manifest.store == SQLITE and database:
        raise BadBackup(f"{source} is a backup of SQLite, which cannot be restored to PostgreSQL. Omit --database.")
    if manifest.master_key == backup_directory.IN_ENVIRONMENT and not master_key.is_master_key_in_environment():
        raise BadBackup(
            f"{source} has no master key, because the server had its key in {master_key.MASTER_KEY_VARIABLE}. Set "
            "this variable to the same key."
        )


def _refuse_filled(directory: DataDirectory, *, apart_from: str = "") -> None:
    """Raise `BadBackup` if the data directory exists and contains anything."""
    with suppress(FileNotFoundError):
        # A new file system contains the directory lost+found.
        names = {path.name for path in directory.path.iterdir()} - {apart_from, "lost+found"}
        if names:
            raise BadBackup(
                f"{directory.path} is not empty: it contains {backup_directory.listed(sorted(names))}. Name a new or "
                "an empty directory with --data."
            )


@contextmanager
def _undone(directory: DataDirectory) -> Iterator[None]:
    """If the `with` block raises an exception, remove the files that it has written to the empty data directory."""
    try:
        yield
    except BaseException:
        written = (*backup_directory.KEPT, directory.database.name, directory.elsewhere.name, directory.lock.name)
        for name in written:
            (directory.path / name).unlink(missing_ok=True)
        raise


def verify_backup(source: Path) -> Iterator[Finding]:
    """Yield everything that is wrong with a backup. Raises `Refused`, `CannotStart` and `DataDirectoryError`."""
    with refusing():
        manifest = backup_directory.read_manifest(source)
        wrong = list(backup_directory.wrong_files(source, manifest))
        yield from (Finding(reason, name) for name, reason in wrong)
        if wrong:
            return
        if manifest.store == SQLITE:
            path, seal = source / backup_directory.DATABASE, _seal(DataDirectory(source), manifest)
            yield from _with_seal(sqlite_backups.verify(path, seal, is_in_use=False), path.name)
        else:
            yield from sqlite_backups.broken_rules_of(source / backup_directory.TABLES, manifest.copied)


def verify_data(directory: DataDirectory, *, database: str = "") -> Iterator[Finding]:
    """Yield everything that is wrong with the data of a deployment, whether or not servers use it.

    Raises `Refused`, `CannotStart` and `DataDirectoryError`.
    """
    database = directory.where(database)
    with refusing(), opening.of_its_owner(directory, database):
        directory.refuse_others()
        opening.refuse_missing(directory, database)
        seal = directory.master_keys.keyring()
        if database:
            yield from _with_seal(opening.postgres("backups").verify(database, seal), "deployment_marks")
        else:
            yield from _with_seal(
                sqlite_backups.verify(directory.database, seal, is_in_use=True), directory.database.name
            )


def _with_seal(findings: Iterator[Finding], name: str) -> Iterator[Finding]:
    """Yield findings, the last of which says that the secrets were sealed with another master key, if they were."""
    try:
        yield from findings
    except sealing.SealBroken as error:
        yield Finding(str(error), name)


def _seal(directory: DataDirectory, manifest: Manifest) -> sealing.Keyring | None:
    """Return the seal with the master key of a backup; None if the key is not known."""
    is_here = manifest.master_key == backup_directory.IN_FILE or master_key.is_master_key_in_environment()
    return directory.master_keys.keyring() if is_here else None


@contextmanager
def refusing() -> Iterator[None]:
    """Raise `Refused` with the message of an exception that prevents a command from being carried out."""
    try:
        yield
    except (BadBackup, ports.StoreUnavailable, SchemaTooNew, SchemaTooOld, SqliteTooOld, sealing.SealBroken) as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"{error.filename or 'A file'} cannot be used: {error.strerror}.") from error
