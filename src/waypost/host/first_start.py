"""Decides whether a data directory's missing database was lost, or does not exist yet and may be created.

The server may create the database only when it first starts. If the server replaced a lost database with an empty one,
it would refuse all mail. The server writes some files only after it has created the database, so these files prove that
a database existed. If the server is killed during its first start, before the database is complete, none of these files
exist, and the server can be started again.
"""

from collections.abc import Iterable
from pathlib import Path

from waypost.host.credentials_file import OWN_CREDENTIALS
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError


def may_make_database(directory: DataDirectory, database: str) -> bool:
    """Whether the database may be created if it does not exist.

    `database` is the URL of the PostgreSQL database, or "" for the directory's SQLite file. Raises `DataDirectoryError`
    if the SQLite file, or its write-ahead log, was lost.
    """
    try:
        is_first = not signs_of_database(directory)
        if not database:
            _refuse_lost_file(directory, is_first=is_first)
    except OSError as error:
        raise directory.unusable(error) from error
    return is_first


def signs_of_database(directory: DataDirectory) -> list[Path]:
    """Return the files that prove that this data directory's server had a database. Raises `DataDirectoryError`."""
    try:
        signs = [file for file in (directory.elsewhere, directory.lock) if _size(file)]
        return [*signs, directory.credentials] if _is_own(directory.credentials) else signs
    except OSError as error:
        raise directory.unusable(error) from error


def lost(directory: DataDirectory, what: str, database: str) -> DataDirectoryError:
    """Return the error for a database that existed and was lost. `what` begins the message, and names the database."""
    signs = signs_of_database(directory)
    others = ", or name the database that has the data" if database else ""
    hint = "" if database else " If the data is in PostgreSQL, name the database with --database."
    return DataDirectoryError(
        f"{what}, but a server has stored data there, according to {_listed(file.name for file in signs)} in "
        f"{directory.path}. Restore the database from your backup{others}.{hint} To start with an empty database, "
        f"without email addresses and mail, remove {_listed(map(str, signs))}."
    )


def _refuse_lost_file(directory: DataDirectory, *, is_first: bool) -> None:
    """Raise `DataDirectoryError` if the SQLite file, or its write-ahead log, was lost."""
    file = directory.database
    log, index = (file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))
    if not is_first and not file.exists():
        raise lost(directory, f"{file} is missing", "")
    if not is_first and not _size(file):
        raise lost(directory, f"{file} is empty", "")
    # SQLite creates the log before its index, and a server that stops cleanly removes the index before the log. The
    # check for the log runs before and after the check for the index, because another server may be creating both now.
    if _size(file) and not log.exists() and index.exists() and not log.exists():
        raise DataDirectoryError(
            f"{log} is missing. A server that did not stop cleanly left its most recent changes, and perhaps "
            "all of its changes, in the missing file. Restore this file or the whole database from your backup. To "
            f"start without these changes, remove {index}."
        )


def _is_own(credentials: Path) -> bool:
    """Whether a credentials file proves that its server had a database.

    Only a file that begins with `OWN_CREDENTIALS` proves that a database existed. A file without this line may be from
    an older version, which stored access keys only in this file and not in the database.
    """
    try:
        with credentials.open("rb") as file:
            return file.read(len(OWN_CREDENTIALS)) == OWN_CREDENTIALS.encode()
    except FileNotFoundError:
        return False


def _size(file: Path) -> int:
    """Return the size of a file in bytes, or 0 if it does not exist. Raises `OSError`."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _listed(names: Iterable[str]) -> str:
    """Join names with commas and "and", for use in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
