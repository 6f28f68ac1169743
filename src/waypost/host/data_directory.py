"""Reads and writes the files in the data directory.

waypost.sqlite3     all email addresses, mail, and access keys with sealed secrets; only without PostgreSQL. A process
                    that writes to it locks the files waypost.sqlite3-next and waypost.sqlite3-turn
database            the URL of the PostgreSQL database, without the password; only with PostgreSQL
credentials         the owner's access key, as an AWS shared-credentials file; only the owner can read it
master.key          the 32 bytes that seal the secrets in the database; only the owner can read it. It does not exist if
                    WAYPOST_MASTER_KEY has the key
master.key.previous the master key before; it exists only until all secrets are sealed with the new one
run.json            the addresses of the running server; it exists only while the server runs
lock                locked by the running server; empty until there is a database, see `first_start`
"""

import configparser
import fcntl
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from waypost.domain.iam.access_keys import AccessKey
from waypost.host import credentials_file, private_files, run_file
from waypost.host.credentials_file import BadProfile, Profile
from waypost.host.directory_files import DataDirectoryError, DirectoryFiles
from waypost.host.master_keys import MasterKeys
from waypost.host.private_files import Exposure
from waypost.host.run_file import Run

_TEMPORARY = r"[0-9a-f]{8}\.new"
"""A regular expression for the end of a temporary file's name. Waypost first writes new contents to a temporary file,
and then gives this file its final name.
"""

_DATABASE = "waypost.sqlite3"

_FILES = frozenset(
    {
        "credentials",
        "database",
        "master.key",
        "master.key.previous",
        "run.json",
        "lock",
        "certificate.pem",
        "certificate-key.pem",
    }
    | {f"{_DATABASE}{end}" for end in ("", "-wal", "-shm", "-journal", "-next", "-turn")}
)


def _is_ours(name: str) -> bool:
    """Return whether Waypost uses a file with this name in the directory."""
    return name in _FILES or is_temporary(name)


def is_temporary(name: str) -> bool:
    """Return whether a file with this name is a temporary file. A server that was killed can leave temporary files
    behind.
    """
    return re.fullmatch(rf".+\.{_TEMPORARY}", name) is not None


_RESTORE = (
    "Restore the file from your backup. If you remove the file, the server writes a new one with the owner's access "
    "key when it next starts."
)
"""The advice for an operator whose credentials file cannot be used."""


class NotRunning(DataDirectoryError):
    """No running server is using the data directory."""


class DataDirectory:
    """A data directory. The directory may not exist yet, or a running server may be using it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = DirectoryFiles(path)
        self.database = path / _DATABASE
        self.credentials = path / "credentials"
        self.elsewhere = path / "database"
        self.master_keys = MasterKeys(
            self._files,
            newest=path / "master.key",
            previous=path / "master.key.previous",
            has_database=lambda: self.has_database,
        )
        self._run = path / "run.json"
        self.lock = path / "lock"
        self._lock_file: IO[bytes] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory's lock during the `with` block, so that no server can start.

        Raises `DataDirectoryError` if a running server is using the directory.
        """
        self.prepare()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def of_its_owner(self) -> Iterator[None]:
        """If the process runs as root, continue with the permissions of the database's owner, until the block ends.

        If there is no database file, the method uses the owner of the directory. Raises `DataDirectoryError`.
        """
        with ExitStack() as changed:
            try:
                with suppress(FileNotFoundError):
                    changed.enter_context(private_files.as_owner_of(self._owned_by_server_user()))
            except OSError as error:
                raise self.unusable(error) from error
            yield

    def _owned_by_server_user(self) -> os.stat_result:
        """Return the file status of the database file, or of the directory if the file is missing.

        The user who runs the server owns the database file and the directory. Raises `OSError`.
        """
        with suppress(FileNotFoundError):
            return self.database.lstat()
        return self.path.stat()

    def make(self) -> None:
        """Create the directory if it does not exist. Raises `DataDirectoryError`, like `refuse_others`."""
        self._refuse_others(make=True)

    def refuse_others(self) -> None:
        """Raise `DataDirectoryError` if another user could have created files in the directory.

        If the directory does not exist, the method does nothing.
        """
        with suppress(FileNotFoundError):
            self._refuse_others(make=False)

    def _refuse_others(self, *, make: bool) -> None:
        try:
            with self._files.opened(make=make) as directory:
                directory.refuse_others(_is_ours)
        except FileNotFoundError:
            if not make:
                raise
            raise DataDirectoryError(
                f"The data directory {self.path} was removed while it was being created."
            ) from None
        except OSError as error:
            raise self.unusable(error) from error

    def prepare(self) -> list[Exposure]:
        """Create the directory if necessary, and lock it. Return all risks that other users pose to the directory.

        Raises `DataDirectoryError` if a running server is using the directory, or if another user could have created
        files in it.
        """
        self.make()
        try:
            with self._files.opened() as directory, ExitStack() as opened:
                lock = opened.enter_context(directory.open_lock(self.lock.name))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # SQLite must not have opened the database yet: closing the same file here would release SQLite's locks.
                found = directory.make_private(_is_ours)
                if self.database.exists() and not os.access(self.database, os.W_OK):
                    raise DataDirectoryError(f"{self.database} cannot be written.")
                for left in (self._run.name, *filter(is_temporary, directory.names())):
                    directory.remove(left)
                opened.pop_all()
        except BlockingIOError as error:
            raise DataDirectoryError(
                f"Another Waypost server is using {self.path}. Stop that server, or choose another directory "
                "with --data."
            ) from error
        except OSError as error:
            raise self.unusable(error) from error
        self._lock_file = lock
        return found

    def forget_killed_server(self) -> None:
        """Delete the `run.json` of a server that was killed. If a running server is using the directory, do nothing.

        `prepare` also deletes the file, but this method can run earlier while a server starts, before all modules are
        loaded.
        """
        with suppress(OSError, DataDirectoryError), self._files.opened() as directory:
            directory.refuse_others(_is_ours)
            with directory.open_lock(self.lock.name, make=False) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                directory.remove(self._run.name)

    def is_held(self) -> bool:
        """Whether a process uses this directory. It is true too if this cannot be found out, as without the rights.

        The lock of a server that was killed is free, although its `run.json` is left.
        """
        with suppress(OSError, DataDirectoryError), self._files.opened() as directory:
            directory.refuse_others(_is_ours)
            with directory.open_lock(self.lock.name, make=False) as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        return True

    def where(self, database: str) -> str:
        """Return the URL of the PostgreSQL database that has this directory's data; empty if the data is in SQLite.

        `database` is the URL that the operator gave; if it is empty, the method returns the remembered URL. The given
        URL and the remembered URL may name different hosts. Raises `DataDirectoryError` if the given database and the
        remembered database have different names, or if a database is given although the directory has a SQLite
        database. In both cases, the server would otherwise start with an empty database.
        """
        if database and self._remembered and _name_of(database) != _name_of(self._remembered):
            raise DataDirectoryError(
                f"{self.path} belongs to a server that uses another database, {self._remembered}. Choose another "
                f"directory with --data. If you have moved the data to this database, remove {self.elsewhere} instead."
            )
        if database and self.database.exists():
            raise DataDirectoryError(
                f"{self.path} has its own database, {self.database.name}, but another one is given by --database "
                "or WAYPOST_SERVE_DATABASE. Omit these, or choose another directory with --data."
            )
        return database or self._remembered

    @property
    def _remembered(self) -> str:
        try:
            remembered = self._files.read(self.elsewhere).strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DataDirectoryError(f"{self.elsewhere} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            remembered = ""
        if not remembered.startswith(
            ("postgresql://", "postgres://")
        ):  # otherwise, an empty SQLite file would be created
            raise DataDirectoryError(
                f"{self.elsewhere} must contain the URL of a PostgreSQL database, without its password. Restore the "
                "file from your backup, or write the URL into the file."
            )
        return remembered

    def remember_database(self, url: str) -> None:
        """Record the URL, without the password, of the PostgreSQL database that this directory's server uses.

        From then on, the server and the commands use this database by default, so the server never starts with an empty
        SQLite database by mistake.
        """
        self._files.write(self.elsewhere, _without_password(url) + "\n")

    @property
    def data_at(self) -> str:
        """The location of all data, for use in messages: the URL of the database or the path of the SQLite file."""
        return self._remembered or str(self.database)

    def note_database(self) -> None:
        """Record in the lock file that the directory has a database. Do nothing if this process does not hold the lock.

        Raises `DataDirectoryError`.
        """
        try:
            if self._lock_file and not os.fstat(self._lock_file.fileno()).st_size:
                self._lock_file.write(b"A server has kept its data here.\n")
                os.fsync(self._lock_file.fileno())  # so that the record survives a power failure
        except OSError as error:
            raise self.unusable(error) from error

    @property
    def has_database(self) -> bool:
        """Whether this directory has a SQLite database, or remembers a PostgreSQL database."""
        return self.database.exists() or self.elsewhere.exists()

    def write_credentials(self, key: AccessKey, *, region: str) -> None:
        """Write the owner's access key to the credentials file, which `waypost env` and AWS tools read."""
        self._files.write(self.credentials, credentials_file.text_of(key, region=region))

    def write_kept(self, name: str, text: str) -> None:
        """Write a file that a backup contains. Raises `DataDirectoryError`."""
        self._files.write(self.path / name, text)

    @property
    def certificate(self) -> Path:
        """The path of the self-signed certificate for development."""
        return self.path / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        """The path of the private key of the self-signed certificate."""
        return self.path / "certificate-key.pem"

    def write_certificate(self, certificate: bytes, key: bytes) -> None:
        """Write the self-signed certificate for development, and its private key."""
        self._files.write(self.certificate_key, key.decode())
        self._files.write(self.certificate, certificate.decode())

    def profiles(self) -> list[Profile]:
        """Return all profiles in the credentials file, in the order in which they appear. The result contains at least
        one profile.

        Raises `DataDirectoryError`.
        """
        try:
            profiles = credentials_file.parse(self._files.read(self.credentials))
        except OSError as error:
            raise DataDirectoryError(f"{self.credentials} cannot be read: {error.strerror}.") from error
        except (UnicodeDecodeError, configparser.Error) as error:  # their text could show secrets from the file
            raise DataDirectoryError(f"{self.credentials} is not an AWS credentials file. {_RESTORE}") from error
        except BadProfile as error:
            raise DataDirectoryError(f"{self.credentials}: {error} {_RESTORE}") from error
        if not profiles:
            raise DataDirectoryError(f"{self.credentials} has no profile. {_RESTORE}")
        return profiles

    def announce(self, run: Run) -> None:
        """Write the server's addresses to `run.json`. The server calls this method when it is ready. Raises
        `DataDirectoryError`.
        """
        self._files.write(self._run, run_file.text_of(run))

    def running(self) -> Run:
        """Return the addresses at which clients can connect to the running server. Raises `NotRunning` and
        `DataDirectoryError`.
        """
        try:
            return run_file.parse(self._files.read(self._run))
        except FileNotFoundError as error:
            whole = self.path.absolute()  # the whole path, because the operator may have chosen the wrong directory
            raise NotRunning(
                f"No running Waypost server is using {whole}. Name the data directory of a running server with --data, "
                f"or start a server with: waypost serve --data {shlex.quote(str(whole))}"
            ) from error
        except OSError as error:
            raise DataDirectoryError(f"{self._run} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise DataDirectoryError(f"{self._run} is damaged. Restart Waypost to replace the file.") from error

    def unusable(self, error: OSError) -> DataDirectoryError:
        """Return the error for a directory that cannot be used, including the reason."""
        reason = "it is not a directory" if isinstance(error, NotADirectoryError) else error.strerror
        return DataDirectoryError(f"The data directory {self.path} cannot be used: {reason}.")

    def release(self) -> None:
        """Delete `run.json` and release the lock."""
        try:
            with suppress(OSError):  # if this fails, the server removes the file when it next starts
                self._run.unlink(missing_ok=True)
        finally:
            if self._lock_file:
                self._lock_file.close()


def _without_password(url: str) -> str:
    """Return a database URL without its passwords. libpq accepts a password before the host and in the query, so both
    are removed.
    """
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    user, at, _ = authority.rpartition("@")
    place, mark, query = rest[len(user + at) :].partition("?")
    shown = "&".join(part for part in query.split("&") if "password" not in unquote(part.partition("=")[0]))
    return f"{scheme}://{re.split('[:?]', user)[0]}{at}{place}{mark if shown else ''}{shown}"


def _name_of(url: str) -> str:
    """Return the name of the database in a URL; empty if the URL names no database."""
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    return unquote(path)
