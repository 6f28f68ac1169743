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
import secrets
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote

from waypost.domain.iam.access_keys import AccessKey
from waypost.host import credentials_file, master_key, private_files, run_file
from waypost.host.credentials_file import BadProfile, Profile
from waypost.host.master_key import (
    MASTER_KEY_VARIABLE,
    PREVIOUS_KEY_VARIABLE,
    BadMasterKey,
    is_master_key_in_environment,
)
from waypost.host.private_files import Exposure, PrivateDirectory, UnsafeFile
from waypost.host.run_file import Run

if TYPE_CHECKING:
    from waypost.host.sealing import Keyring

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


class DataDirectoryError(Exception):
    """The data directory cannot be used. The error message names the file and a remedy."""


class NotRunning(DataDirectoryError):
    """No running server is using the data directory."""


class DataDirectory:
    """A data directory. The directory may not exist yet, or a running server may be using it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / _DATABASE
        self.credentials = path / "credentials"
        self.elsewhere = path / "database"
        self.master_key = path / "master.key"
        self.previous_key = path / "master.key.previous"
        self._derives_from: bytes | None = None
        """The master key from which this process derives keys; None until it is needed."""
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
            with self._opened(make=make) as directory:
                directory.refuse_others(_is_ours)
        except FileNotFoundError:
            if not make:
                raise
            raise DataDirectoryError(
                f"The data directory {self.path} was removed while it was being created."
            ) from None
        except OSError as error:
            raise self.unusable(error) from error

    @contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[PrivateDirectory]:
        """Open the directory to use its files. Raises `DataDirectoryError` if a file is unsafe, or `OSError` if the
        directory or a file cannot be used.
        """
        try:
            with private_files.opened(self.path, make=make) as directory:
                yield directory
        except UnsafeFile as error:
            raise DataDirectoryError(str(error)) from error

    def prepare(self) -> list[Exposure]:
        """Create the directory if necessary, and lock it. Return all risks that other users pose to the directory.

        Raises `DataDirectoryError` if a running server is using the directory, or if another user could have created
        files in it.
        """
        self.make()
        try:
            with self._opened() as directory, ExitStack() as opened:
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
        with suppress(OSError, DataDirectoryError), self._opened() as directory:
            directory.refuse_others(_is_ours)
            with directory.open_lock(self.lock.name, make=False) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                directory.remove(self._run.name)

    def is_held(self) -> bool:
        """Whether a process uses this directory. It is true too if this cannot be found out, as without the rights.

        The lock of a server that was killed is free, although its `run.json` is left.
        """
        with suppress(OSError, DataDirectoryError), self._opened() as directory:
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
            remembered = self._read(self.elsewhere).strip()
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
        self._write(self.elsewhere, _without_password(url) + "\n")

    def _read(self, file: Path) -> str:
        """Return a file's text. Raises `DataDirectoryError` if the file is unsafe, or `OSError` or `UnicodeError` if
        the file cannot be read.
        """
        with self._opened() as directory:
            return directory.read(file.name).decode()

    def _write(self, file: Path, text: str, *, replace: bool = True) -> None:
        """Write a file atomically and durably. Only its owner can read the file.

        If `replace` is false and the file already exists, the method keeps the existing file. Raises
        `DataDirectoryError`.
        """
        try:
            with self._opened() as directory:
                directory.write(file.name, text, replace=replace)
        except OSError as error:
            raise DataDirectoryError(f"{file} cannot be written: {error.strerror}.") from error

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
        self._write(self.credentials, credentials_file.text_of(key, region=region))

    def write_kept(self, name: str, text: str) -> None:
        """Write a file that a backup contains. Raises `DataDirectoryError`."""
        self._write(self.path / name, text)

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
        self._write(self.certificate_key, key.decode())
        self._write(self.certificate, certificate.decode())

    def profiles(self) -> list[Profile]:
        """Return all profiles in the credentials file, in the order in which they appear. The result contains at least
        one profile.

        Raises `DataDirectoryError`.
        """
        try:
            profiles = credentials_file.parse(self._read(self.credentials))
        except OSError as error:
            raise DataDirectoryError(f"{self.credentials} cannot be read: {error.strerror}.") from error
        except (UnicodeDecodeError, configparser.Error) as error:  # their text could show secrets from the file
            raise DataDirectoryError(f"{self.credentials} is not an AWS credentials file. {_RESTORE}") from error
        except BadProfile as error:
            raise DataDirectoryError(f"{self.credentials}: {error} {_RESTORE}") from error
        if not profiles:
            raise DataDirectoryError(f"{self.credentials} has no profile. {_RESTORE}")
        return profiles

    def derived_key(self, purpose: str) -> bytes:
        """Derive the secret key for a purpose from the master key. Raises `DataDirectoryError`.

        In a process, the key for a purpose never changes. During a rotation of the master key, it is still derived from
        the previous one, so that all processes of a deployment have the same key. After the rotation, a process that
        starts has another key.
        """
        if self._derives_from is None:
            newest, previous = self.master_keys()
            self._derives_from = previous or newest
        return master_key.derived(self._derives_from, purpose)

    def master_keys(self) -> tuple[bytes, bytes | None]:
        """Return the master key, and the previous one if a rotation is not complete, as they are now. If the directory
        has no database yet, make a new key. Raises `DataDirectoryError`.
        """
        try:
            if encoded := os.environ.get(MASTER_KEY_VARIABLE):
                newest = master_key.checked(master_key.decoded(encoded), MASTER_KEY_VARIABLE)
                before = os.environ.get(PREVIOUS_KEY_VARIABLE)
                previous = master_key.checked(master_key.decoded(before), PREVIOUS_KEY_VARIABLE) if before else None
            else:
                newest = master_key.checked(self._master_key_in_file(), str(self.master_key))
                previous = self._previous_key_in_file()
        except BadMasterKey as error:
            raise DataDirectoryError(str(error)) from error
        return newest, None if previous == newest else previous

    def _previous_key_in_file(self) -> bytes | None:
        try:
            return master_key.checked(master_key.decoded(self._read(self.previous_key)), str(self.previous_key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataDirectoryError(f"{self.previous_key} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            return master_key.checked(b"", str(self.previous_key))

    def keyring(self) -> "Keyring":
        """Return the keys that seal the secrets in the database. Raises `DataDirectoryError`."""
        from waypost.host import sealing  # noqa: PLC0415 - commands that call the server start faster without it

        def read() -> sealing.SealKeys:
            newest, previous = self.master_keys()
            sealed = partial(master_key.derived, purpose=master_key.SEALED)
            return sealing.SealKeys(sealed(newest), sealed(previous) if previous else None)

        return sealing.Keyring(read(), reread=read)

    @property
    def has_previous_key(self) -> bool:
        """Whether a rotation of the master key is not complete. Raises `DataDirectoryError`."""
        has_key = is_master_key_in_environment() or self.master_key.exists()
        return has_key and self.master_keys()[1] is not None

    @property
    def previous_at(self) -> str:
        """The file or the variable with the previous master key, for messages."""
        return PREVIOUS_KEY_VARIABLE if is_master_key_in_environment() else str(self.previous_key)

    @contextmanager
    def rotating(self) -> Iterator[None]:
        """Run the `with` block while no other process rotates the master key: of two new keys, one would be lost with
        everything that it has sealed. Raises `DataDirectoryError` if another process rotates the key.

        Servers may run meanwhile, so this is not the lock of the running server.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DataDirectoryError(f"{self.path} cannot be opened: {error.strerror}.") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataDirectoryError(
                    f"Another command rotates the master key of {self.path}. Wait until it has ended."
                ) from error
            yield
        finally:
            os.close(descriptor)

    def begin_rotation(self) -> bool:
        """Make a new master key, unless a rotation has begun already. Return whether the key is new.

        The previous key is written first, so that no moment exists in which a key is lost. Raises `DataDirectoryError`.
        """
        newest, previous = self.master_keys()
        if previous is not None:
            return False
        if is_master_key_in_environment():
            raise DataDirectoryError(
                f"The master key is in {MASTER_KEY_VARIABLE}. Make a new key, and restart all servers with it in "
                f"{MASTER_KEY_VARIABLE}, and with the present key in {PREVIOUS_KEY_VARIABLE}. Then run this command "
                "with the same variables."
            )
        self._write(self.previous_key, master_key.encoded(newest))
        self._write(self.master_key, master_key.encoded(secrets.token_bytes(master_key.BYTES)))
        return True

    def end_rotation(self) -> None:
        """Remove the previous master key, because no secret is sealed with it any more. Raises `DataDirectoryError`."""
        try:
            with self._opened() as directory:
                directory.remove(self.previous_key.name)
        except OSError as error:
            raise DataDirectoryError(f"{self.previous_key} cannot be removed: {error.strerror}.") from error

    def _master_key_in_file(self) -> bytes:
        """Return the master key of this directory. If the directory has no database yet, make a new key."""
        if not self.master_key.exists():
            if self.has_database:
                raise DataDirectoryError(
                    f"{self.master_key} is missing. Restore the file from your backup, or set {MASTER_KEY_VARIABLE}."
                )
            made = secrets.token_bytes(master_key.BYTES)
            self._write(self.master_key, master_key.encoded(made), replace=False)
        try:
            return master_key.decoded(self._read(self.master_key))
        except OSError as error:
            raise DataDirectoryError(f"{self.master_key} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            return b""

    def announce(self, run: Run) -> None:
        """Write the server's addresses to `run.json`. The server calls this method when it is ready. Raises
        `DataDirectoryError`.
        """
        self._write(self._run, run_file.text_of(run))

    def running(self) -> Run:
        """Return the addresses at which clients can connect to the running server. Raises `NotRunning` and
        `DataDirectoryError`.
        """
        try:
            return run_file.parse(self._read(self._run))
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
