"""Decides whether the database of a data directory may be created, because this is the first start, or was lost.

A server on an empty database refuses all mail, so none is created where a server has had one. Some files are written
only after the database exists, and prove that: so a first start that was killed can be repeated.
"""

from collections.abc import Iterable
from pathlib import Path

from waypost.host.data_directory import OWN_CREDENTIALS, DataDirectory, DataDirectoryError


def may_make_database(directory: DataDirectory, database: str) -> bool:
    """Whether the database may be created, if it does not exist.

    `database` is the URL of the PostgreSQL database, or "" for the file of the directory. Raises `DataDirectoryError`
    if that file was lost, or a part of it.
    """
    try:
        is_first = not signs_of_database(directory)
        if not database:
            _refuse_lost_file(directory, is_first=is_first)
    except OSError as error:
        raise directory.unusable(error) from error
    return is_first


def signs_of_database(directory: DataDirectory) -> list[Path]:
    """The files that prove that a server has had a database here. Raises `DataDirectoryError`."""
    try:
        signs = [file for file in (directory.elsewhere, directory.lock) if _size(file)]
        return [*signs, directory.credentials] if _is_own(directory.credentials) else signs
    except OSError as error:
        raise directory.unusable(error) from error


def lost(directory: DataDirectory, what: str, database: str) -> DataDirectoryError:
    """The refusal to start without the database that existed. `what` names it and says so."""
    signs = signs_of_database(directory)
    others = ", or name the database that has its data" if database else ""
    hint = "" if database else " If the data is in PostgreSQL, name the database with --database."
    return DataDirectoryError(
        f"{what}, but a server has kept its data there, as {_listed(file.name for file in signs)} in {directory.path} "
        f"show. Restore the database from your backup{others}.{hint} To start anew, without email addresses and mail, "
        f"remove {_listed(map(str, signs))}."
    )


def _refuse_lost_file(directory: DataDirectory, *, is_first: bool) -> None:
    """Raise `DataDirectoryError` if the file of the database, or its write-ahead log, was lost."""
    file = directory.database
    log, index = (file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))
    if not is_first and not file.exists():
        raise lost(directory, f"{file} is missing", "")
    if not is_first and not _size(file):
        raise lost(directory, f"{file} is empty", "")
    # SQLite makes the log before its index, and a server that ends in order removes the index before the log. The log
    # is looked for on both sides of the index, because another server may make both just now.
    if _size(file) and not log.exists() and index.exists() and not log.exists():
        raise DataDirectoryError(
            f"{log} is missing. A server that did not end in order had its last changes there, perhaps all. Restore "
            f"it, or the whole database from your backup. To start without these changes, remove {index}."
        )


def _is_own(credentials: Path) -> bool:
    """Whether a server has written a credentials file together with a database.

    Versions that kept no access keys in the database wrote it without this first line.
    """
    try:
        with credentials.open("rb") as file:
            return file.read(len(OWN_CREDENTIALS)) == OWN_CREDENTIALS.encode()
    except FileNotFoundError:
        return False


def _size(file: Path) -> int:
    """Octets in a file; none if it is not there. Raises `OSError`."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _listed(names: Iterable[str]) -> str:
    """Names as a list in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
