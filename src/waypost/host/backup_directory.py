"""Writes and reads the directory of a backup.

manifest.json       what the backup contains: versions, numbers of rows, and the size and SHA-256 of each file
waypost.sqlite3     the database, if it is SQLite
tables/NAME.copy    the rows of a table, if the database is PostgreSQL
credentials, …      the files of the data directory, see `KEPT`

A backup has a temporary name until it is complete, and its manifest is written last. Only its owner can read it.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from waypost.app.ports.backups import CopiedStore, CopiedTable
from waypost.host import private_files
from waypost.host.private_files import UnsafeFile

MANIFEST = "manifest.json"
DATABASE = "waypost.sqlite3"
LOCK = "lock"
"""A file that a data directory has, and a backup has not."""

TABLES = "tables"

KEPT = ("master.key", "master.key.previous", "credentials", "certificate.pem", "certificate-key.pem")
"""The files of the data directory that a backup contains, if they exist. The other files belong to a running server or
to the machine.
"""

FORM = 1
"""The number of the form of backups that this version writes and reads."""

IN_FILE, IN_ENVIRONMENT = "file", "environment"
"""Where the server has its master key: in `master.key`, which the backup contains, or in the environment."""

BLOCK = 1024 * 1024
"""The number of bytes of a file that are read at a time."""

_NAME = re.compile(rf"{re.escape(DATABASE)}|{TABLES}/\w+\.copy|{'|'.join(map(re.escape, KEPT))}", re.ASCII)


_IDENTIFIER = re.compile(r"\w+", re.ASCII)

MOST_OF_MANIFEST = 4 * 1024 * 1024
"""The maximum size of a manifest in bytes. That of a backup has some thousand bytes."""


class BadBackup(Exception):
    """A backup cannot be written or used. The message gives the reason, and names the file."""


class FileFacts(Struct, frozen=True):
    """What the manifest says about a file."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup contains."""

    waypost: str
    """The version of Waypost that made the backup."""
    store: str
    """`sqlite` or `postgres`."""
    began_at: str
    """The time, in UTC, at which the backup began. It has everything that was acknowledged before."""
    ended_at: str
    master_key: str
    """`file` or `environment`."""
    copied: CopiedStore
    files: Mapping[str, FileFacts]
    """The facts of each file except the manifest, by its path below the directory."""


def text_of(manifest: Manifest) -> str:
    """Return the contents of `manifest.json`. Its member `sha256` is the SHA-256 of the text without this member."""
    body = {"form": FORM, **to_builtins(manifest)}
    return _text({"sha256": _digest_of(body), **body})


def _text(members: Mapping[str, Any]) -> str:
    return json.dumps(members, indent=2) + "\n"


def _digest_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(body).encode()).hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a backup. Raises `BadBackup` if it is missing or damaged, or of a newer form."""
    path = directory / MANIFEST
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_OF_MANIFEST:
            raise BadBackup(
                f"{path} is no manifest of a backup: it is not a regular file, or it has more than "
                f"{MOST_OF_MANIFEST >> 20} MiB. Use another backup."
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f" To verify a data directory, run: waypost verify --data {directory}"
        is_data = (directory / LOCK).exists()
        raise BadBackup(f"{directory} is not a whole backup: {path} is missing.{hint if is_data else ''}") from None
    except OSError as error:
        raise BadBackup(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _damaged(path) from error
    try:
        body = json.loads(text)
        stated = body.pop("sha256")
        form = body.pop("form")
        if form != FORM and stated == _digest_of({"form": form, **body}):
            raise BadBackup(
                f"{directory} has a form of backup that this version of Waypost does not know. Use the version of "
                f"Waypost that made the backup, or a newer one."
            )
        manifest = _manifest(body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error
    if text_of(manifest) != text or not all(map(_NAME.fullmatch, manifest.files)) or not _has_tables(manifest):
        raise _damaged(path)
    return manifest


def _has_tables(manifest: Manifest) -> bool:
    """Return whether each table of a manifest has a file if necessary, and only names that can be part of a statement
    of SQL.
    """
    tables = manifest.copied.tables
    names = [*tables, *(column for table in tables.values() for column in table.columns)]
    names += [part for counter in manifest.copied.counters for part in counter.split(".")]
    has_files = manifest.store != "postgres" or all(f"{TABLES}/{name}.copy" in manifest.files for name in tables)
    return has_files and all(map(_IDENTIFIER.fullmatch, names))


def _damaged(path: Path) -> BadBackup:
    return BadBackup(f"{path} is damaged: its checksum is wrong. Use another backup.")


def _manifest(body: dict[str, Any]) -> Manifest:
    copied, files = body.pop("copied"), body.pop("files")
    tables = {name: CopiedTable(**table) for name, table in copied.pop("tables").items()}
    return Manifest(
        **body,
        copied=CopiedStore(**copied, tables=tables),
        files={name: FileFacts(**facts) for name, facts in files.items()},
    )


def facts_of(path: Path, read: Callable[[int], object] = lambda _: None) -> FileFacts:
    """Return the size and the SHA-256 of a file. `read` is called with the number of bytes of each part.

    Raises `OSError`.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
            read(len(block))
    return FileFacts(size, digest.hexdigest())


def wrong_files(
    directory: Path, manifest: Manifest, read: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[str, str]]:
    """Yield the path of each file of a backup that is not as it was written, and a sentence with the reason."""
    for name, expected in manifest.files.items():
        path = directory / name
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device could take forever
                yield name, "It is not a regular file."
                continue
            if found.st_size != expected.size:
                yield name, f"The file has {found.st_size:,} bytes instead of {expected.size:,}."
                continue
            is_equal = facts_of(path, read) == expected
        except FileNotFoundError:
            yield name, "The file is missing."
        except OSError as error:
            yield name, f"The file cannot be read: {error.strerror}."
        else:
            if not is_equal:
                yield name, "The file is damaged: its checksum is wrong."


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """Yield a new directory for the files of a backup. At the end of the `with` block, sync all of its files, and give
    it the name `target`, which must be new or an empty directory.

    If the block raises an exception, the directory is removed. If the process is killed, it is left, under a name that
    ends in `.new`. Raises `BadBackup`.
    """
    try:
        refuse_contents(target)
        temporary = target.absolute().with_name(f"{target.absolute().name}.{secrets.token_hex(4)}.new")
        temporary.mkdir(mode=0o700)
    except OSError as error:
        why = ""
        if os.geteuid() != os.getuid():
            owner = private_files.user_name(os.geteuid())
            why = f" The command has the permissions of the data directory's owner, {owner}."
        raise BadBackup(f"{target} cannot be created: {error.strerror}.{why}") from error
    try:
        try:
            yield temporary
            sync_all(temporary)
            temporary.replace(target)  # fails if the target is no longer empty
            sync(temporary.parent)
        except OSError as error:
            raise BadBackup(f"{target} cannot be written: {error.strerror}.") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_contents(target: Path) -> None:
    """Raise `BadBackup` unless a path is new or an empty directory that can be replaced. Raises `OSError`."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise BadBackup(f"{target} exists and is not a directory. Name a new or an empty directory.")
    if not target.exists():
        return
    if target.is_mount():
        raise BadBackup(f"{target} is a mount point. Name a new directory in it, such as {target / 'waypost-backup'}.")
    if found := sorted(path.name for path in target.iterdir()):
        raise BadBackup(f"{target} is not empty: it contains {listed(found)}. Name a new or an empty directory.")


def listed(names: list[str], most: int = 5) -> str:
    """Return names for a sentence, and the number of further names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def sync_all(directory: Path) -> None:
    """Sync all files in a directory, and the directory, to disk. Raises `OSError`."""
    for above, _, names in os.walk(directory, topdown=False):
        for name in names:
            sync(Path(above, name))
        sync(Path(above))


def sync(path: Path) -> None:
    """Sync a file or a directory to disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_files(data: Path) -> dict[str, bytes]:
    """Return the contents of the files of a data directory that a backup contains. Raises `BadBackup`."""
    found = {}
    try:
        with private_files.opened(data) as directory:
            for name in KEPT:
                with suppress(FileNotFoundError):
                    found[name] = directory.read(name)
    except UnsafeFile as error:
        raise BadBackup(str(error)) from error
    except OSError as error:
        raise BadBackup(f"The data directory {data} cannot be read: {error.strerror}.") from error
    return found


def copy_file(source: Path, target: Path, expected: FileFacts, read: Callable[[int], object]) -> None:
    """Copy a file of a backup to a path, which gets the whole file or none. Sync the copy to disk.

    Raises `BadBackup` if the file is no longer as it was written, and `OSError`.
    """
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as given, temporary.open("xb") as file:
            while block := given.read(BLOCK):
                digest.update(block)
                file.write(block)
                read(len(block))
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != expected.sha256:
            raise BadBackup(f"{source} was changed while it was copied.")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)
