"""The data directory: its files, and how each is written and read.

waypost.sqlite3     all email addresses, mail, and access keys, their secrets sealed. Not there if that is in PostgreSQL
database            where that is in PostgreSQL: its URL, without the password. Not there if it is here
credentials         the owner's access key, as an AWS shared-credentials file; only for the owner's eyes
master.key          32 octets that seal the secrets in the database; only for the owner's eyes. Not there if
                    WAYPOST_MASTER_KEY has it
run.json            where the running server is; there only while it runs
lock                held by the running server; empty until there is a database, see `first_start`
"""

import base64
import configparser
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from waypost.domain.iam.access_keys import AccessKey
from waypost.host import private_files
from waypost.host.private_files import Exposure, PrivateDirectory, UnsafeFile

MASTER_KEY_VARIABLE = "WAYPOST_MASTER_KEY"
"""The environment variable with the master key, in place of the file: 32 octets in base64url."""

_MASTER_KEY_OCTETS = 32

_HALF_WRITTEN = r"[0-9a-f]{8}\.new"
"""The end of the name of a file that is being written and will replace another one, as a regular expression."""

_DATABASE = "waypost.sqlite3"

_FILES = frozenset(
    {"credentials", "database", "master.key", "run.json", "lock", "certificate.pem", "certificate-key.pem"}
    | {f"{_DATABASE}{end}" for end in ("", "-wal", "-shm", "-journal")}
)


def _is_ours(name: str) -> bool:
    """Whether a file of the directory is one of Waypost's, by its name."""
    return name in _FILES or _is_left(name)


def _is_left(name: str) -> bool:
    """Whether a file was being written by a server that was killed."""
    return re.fullmatch(rf".+\.{_HALF_WRITTEN}", name) is not None


OWN_CREDENTIALS = "# The owner's access key for Waypost."
"""The beginning of a credentials file that a server has written."""

_RESTORE = "Restore it from your backup, or remove it: the next start writes it again, with the owner's access key."
"""What to do about a credentials file that cannot be used."""


class DataDirectoryError(Exception):
    """The data directory cannot be used. The message names the file and says what to do."""


class NotRunning(DataDirectoryError):
    """No server is running on the data directory."""


@dataclass(frozen=True, slots=True)
class Run:
    """Where the running server is: addresses as HOST:PORT."""

    http: str
    smtp: str
    smtps: str = ""
    lmtp: str = ""
    certificate: str = ""
    """The file of the certificate that was made here, for clients to trust."""
    listeners: Sequence[str] = ()
    """All addresses of the mail listeners: SMTP, SMTP over TLS, and LMTP."""
    hostname: str = ""
    """The server's host name."""
    dns: str = ""
    """The DNS resolvers of its setting `dns`; empty for the system's."""
    config: str = ""
    """Its settings file, if it has one."""
    routes: list[dict[str, Any]] = field(default_factory=list)
    """Those of its settings file, without secrets."""
    pid: int = field(default_factory=os.getpid, kw_only=True)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile of the credentials file."""

    key: AccessKey
    region: str


class DataDirectory:
    """One data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / _DATABASE
        self.credentials = path / "credentials"
        self.elsewhere = path / "database"
        self.master_key = path / "master.key"
        self._run = path / "run.json"
        self.lock = path / "lock"
        self._lock_file: IO[bytes] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock during the block, so that no server runs meanwhile. Raises `DataDirectoryError` if one does."""
        self.prepare()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def of_its_owner(self) -> Iterator[None]:
        """If the user is root, work with the rights of the owner of the database, or else of the directory.

        Raises `DataDirectoryError`.
        """
        with ExitStack() as changed:
            try:
                with suppress(FileNotFoundError):
                    changed.enter_context(private_files.as_owner_of(self._of_whom()))
            except OSError as error:
                raise self.unusable(error) from error
            yield

    def _of_whom(self) -> os.stat_result:
        """A file or directory that belongs to the user who runs the server. Raises `OSError`."""
        with suppress(FileNotFoundError):
            return self.database.lstat()
        return self.path.stat()

    def make(self) -> None:
        """Make the directory if it is not there. Raises `DataDirectoryError`, as `refuse_others` does."""
        self._refuse_others(make=True)

    def refuse_others(self) -> None:
        """Raise `DataDirectoryError` if another user could have put files into the directory. It may be missing."""
        with suppress(FileNotFoundError):
            self._refuse_others(make=False)

    def _refuse_others(self, *, make: bool) -> None:
        try:
            with self._opened(make=make) as directory:
                directory.refuse_others(_is_ours)
        except FileNotFoundError:
            if not make:
                raise
            raise DataDirectoryError(f"The data directory {self.path} was removed while it was being made.") from None
        except OSError as error:
            raise self.unusable(error) from error

    @contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[PrivateDirectory]:
        """The directory, to work with its files. Raises `DataDirectoryError` for unsafe files, `OSError`."""
        try:
            with private_files.opened(self.path, make=make) as directory:
                yield directory
        except UnsafeFile as error:
            raise DataDirectoryError(str(error)) from error

    def prepare(self) -> list[Exposure]:
        """Make the directory and take its lock. Returns what other users can do with it, or could do until now.

        Raises `DataDirectoryError` if a server has it already, or if another user could have put files there.
        """
        self.make()
        try:
            with self._opened() as directory, ExitStack() as opened:
                lock = opened.enter_context(directory.open_lock(self.lock.name))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # SQLite has not opened the database yet: its locks would end when we close the same file.
                found = directory.make_private(_is_ours)
                if self.database.exists() and not os.access(self.database, os.W_OK):
                    raise DataDirectoryError(f"{self.database} cannot be written.")
                for left in (self._run.name, *filter(_is_left, directory.names())):
                    directory.remove(left)
                opened.pop_all()
        except BlockingIOError as error:
            raise DataDirectoryError(
                f"Another Waypost is running on {self.path}. Stop it, or choose another directory with --data."
            ) from error
        except OSError as error:
            raise self.unusable(error) from error
        self._lock_file = lock
        return found

    def forget_killed_server(self) -> None:
        """Delete the `run.json` of a server that was killed. Nothing happens while one runs.

        `prepare` does so too. This is for the moment at which a server starts, before it has loaded all that it needs.
        """
        with suppress(OSError, DataDirectoryError), self._opened() as directory:
            directory.refuse_others(_is_ours)
            with directory.open_lock(self.lock.name, make=False) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                directory.remove(self._run.name)

    def where(self, database: str) -> str:
        """Which PostgreSQL database this directory's data is in: the one asked for, or else the remembered one, or "".

        It may have moved to another host. Raises `DataDirectoryError` if one with another name is asked for, or a
        directory that has its own: the server would start empty by mistake.
        """
        if database and self._remembered and _name_of(database) != _name_of(self._remembered):
            raise DataDirectoryError(
                f"{self.path} belongs to a server on {self._remembered}, which is another database. Choose another "
                f"directory with --data; or remove {self.elsewhere}, if the data is there now."
            )
        if database and self.database.exists():
            raise DataDirectoryError(
                f"{self.path} has a database of its own, {self.database.name}. Choose another directory with --data "
                "for a server on PostgreSQL."
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
        if not remembered.startswith(("postgresql://", "postgres://")):  # or an empty file of a database would be made
            raise DataDirectoryError(
                f"{self.elsewhere} must have the URL of a PostgreSQL database, without its password. Restore it from "
                "your backup, or write that URL into it."
            )
        return remembered

    def remember_database(self, url: str) -> None:
        """Record the PostgreSQL database of this directory's server, without the password.

        A later start or command then uses it without being told, and never begins with an empty database.
        """
        self._write(self.elsewhere, _without_password(url) + "\n")

    def _read(self, file: Path) -> str:
        """The text of a file. Raises `DataDirectoryError` if it could be another user's, `OSError`, `UnicodeError`."""
        with self._opened() as directory:
            return directory.read(file.name).decode()

    def _write(self, file: Path, text: str, *, replace: bool = True) -> None:
        """Write a file that only its owner can read, whole or not at all, durably.

        If `replace` is false, one that is there stays. Raises `DataDirectoryError`.
        """
        try:
            with self._opened() as directory:
                directory.write(file.name, text, replace=replace)
        except OSError as error:
            raise DataDirectoryError(f"{file} cannot be written: {error.strerror}.") from error

    @property
    def data_at(self) -> str:
        """Where all data is, for people."""
        return self._remembered or str(self.database)

    def note_database(self) -> None:
        """Record in the lock file, if it is locked, that there is a database from now on. Raises
        `DataDirectoryError`.
        """
        try:
            if self._lock_file and not os.fstat(self._lock_file.fileno()).st_size:
                self._lock_file.write(b"A server has kept its data here.\n")
                os.fsync(self._lock_file.fileno())  # so that it is known after a power cut, too
        except OSError as error:
            raise self.unusable(error) from error

    @property
    def has_database(self) -> bool:
        """Whether there is a database in this directory, or one in PostgreSQL is remembered."""
        return self.database.exists() or self.elsewhere.exists()

    def write_credentials(self, key: AccessKey, *, region: str) -> None:
        """Write the owner's access key where `waypost env` and AWS tools find it."""
        profile = (
            f"{OWN_CREDENTIALS} It is not used for anything else.\n"
            "[default]\n"
            f"aws_access_key_id = {key.id}\n"
            f"aws_secret_access_key = {key.secret}\n"
            f"aws_account_id = {key.account}\n"
            f"region = {region}\n"
        )
        self._write(self.credentials, profile)

    @property
    def certificate(self) -> Path:
        """The certificate that was made for development; its key is beside it."""
        return self.path / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        """The key of that certificate."""
        return self.path / "certificate-key.pem"

    def write_certificate(self, certificate: bytes, key: bytes) -> None:
        """Write a certificate that was made for development."""
        self._write(self.certificate_key, key.decode())
        self._write(self.certificate, certificate.decode())

    def profiles(self) -> list[Profile]:
        """All profiles of the credentials file, in its order; at least one. Raises `DataDirectoryError`."""
        parser = configparser.RawConfigParser(default_section="", interpolation=None)
        try:
            parser.read_string(self._read(self.credentials))
            profiles = _each_key_once([_profile(parser[name]) for name in parser.sections()])
        except OSError as error:
            raise DataDirectoryError(f"{self.credentials} cannot be read: {error.strerror}.") from error
        except (UnicodeDecodeError, configparser.Error) as error:  # whose text would show what is in the file
            raise DataDirectoryError(f"{self.credentials} is no AWS shared-credentials file. {_RESTORE}") from error
        except _BadProfile as error:
            raise DataDirectoryError(f"{self.credentials}: {error} {_RESTORE}") from error
        if not profiles:
            raise DataDirectoryError(f"{self.credentials} has no profile. {_RESTORE}")
        return profiles

    def derived_key(self, purpose: str) -> bytes:
        """A secret key for one purpose, the same for this deployment forever. Raises `DataDirectoryError`."""
        if encoded := os.environ.get(MASTER_KEY_VARIABLE):
            master, where = _decoded(encoded), MASTER_KEY_VARIABLE
        else:
            master, where = self._master_key_in_file(), str(self.master_key)
        if len(master) != _MASTER_KEY_OCTETS:
            raise DataDirectoryError(
                f"{where} must be {_MASTER_KEY_OCTETS} octets in base64url. Restore it from your backup."
            )
        return hmac.digest(master, purpose.encode(), hashlib.sha256)

    def _master_key_in_file(self) -> bytes:
        """The master key of this directory; made with a new database."""
        if not self.master_key.exists():
            if self.has_database:
                raise DataDirectoryError(
                    f"{self.master_key} is missing. Restore it from your backup, or set {MASTER_KEY_VARIABLE}."
                )
            made = secrets.token_bytes(_MASTER_KEY_OCTETS)
            self._write(self.master_key, base64.urlsafe_b64encode(made).decode() + "\n", replace=False)
        try:
            return _decoded(self._read(self.master_key))
        except OSError as error:
            raise DataDirectoryError(f"{self.master_key} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            return b""

    def announce(self, run: Run) -> None:
        """Write where the server is, once it is ready. Raises `DataDirectoryError`."""
        self._write(self._run, json.dumps(asdict(run)) + "\n")

    def running(self) -> Run:
        """Where the running server can be connected to. Raises `NotRunning`, `DataDirectoryError`."""
        try:
            told = json.loads(self._read(self._run))
            run = Run(**{one.name: told[one.name] for one in fields(Run) if one.name in told})  # a newer one tells more
            _refuse_foreign(run)
        except FileNotFoundError as error:
            whole = self.path.absolute()  # so that the reader sees it if this is the wrong folder
            raise NotRunning(
                f"No Waypost is running on {whole}. Name the data directory of one that is running with --data, "
                f"or start one with: waypost serve --data {shlex.quote(str(whole))}"
            ) from error
        except OSError as error:
            raise DataDirectoryError(f"{self._run} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise DataDirectoryError(f"{self._run} is damaged. Start Waypost again, which writes it anew.") from error
        return replace(
            run,
            http=_reachable(run.http),
            smtp=_reachable(run.smtp),
            smtps=_reachable(run.smtps),
            lmtp=_reachable(run.lmtp),
        )

    def unusable(self, error: OSError) -> DataDirectoryError:
        """The error for a directory that cannot be used."""
        reason = "it is not a directory" if isinstance(error, NotADirectoryError) else error.strerror
        return DataDirectoryError(f"The data directory {self.path} cannot be used: {reason}.")

    def release(self) -> None:
        """Delete `run.json` and release the lock."""
        try:
            with suppress(OSError):  # the next start removes it
                self._run.unlink(missing_ok=True)
        finally:
            if self._lock_file:
                self._lock_file.close()


_ADDRESS = re.compile(r"(?:[^\s\[\]:]+|\[[^\s\[\]]+\]):[0-9]{1,5}", re.ASCII)
"""HOST:PORT, with brackets around an IPv6 address."""


def _refuse_foreign(run: Run) -> None:
    """Raise `TypeError` or `ValueError` for values that no Waypost server has written."""
    addresses = [run.http, run.smtp, run.smtps, run.lmtp, *run.listeners]
    texts = [*addresses, run.certificate, run.hostname, run.dns, run.config]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(run)
    if not all(map(_ADDRESS.fullmatch, filter(None, addresses))):
        raise ValueError(run)
    os.fsencode("".join(texts))  # which refuses half a character, and takes the names of files that are no UTF-8


def _reachable(address: str) -> str:
    """HOST:PORT to connect to, on this machine, for an address of a listener: 0.0.0.0 and :: are no destinations."""
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        found = ip_address(host.strip("[]"))
        if found.is_unspecified:
            return f"127.0.0.1:{port}" if found.version == 4 else f"[::1]:{port}"
    return address


class _BadProfile(Exception):
    """A profile of the credentials file lacks something, or has an invalid value."""


def _profile(section: configparser.SectionProxy) -> Profile:
    for name in ("aws_access_key_id", "aws_secret_access_key", "aws_account_id", "region"):
        if not section.get(name):
            raise _BadProfile(f"the profile [{section.name}] lacks {name}.")
    if not re.fullmatch("[0-9]{12}", section["aws_account_id"]):
        raise _BadProfile(f"aws_account_id of the profile [{section.name}] must be twelve digits.")
    key = AccessKey(
        id=section["aws_access_key_id"],
        secret=section["aws_secret_access_key"],
        account=section["aws_account_id"],
    )
    return Profile(key, section["region"])


def _each_key_once(profiles: list[Profile]) -> list[Profile]:
    """The profiles without repeated access keys: AWS tools let two profiles share one."""
    first: dict[str, Profile] = {}
    for profile in profiles:
        if first.setdefault(profile.key.id, profile).key != profile.key:
            raise _BadProfile(f"two profiles have access key {profile.key.id}, and differ in its secret or account.")
    return list(first.values())


def is_master_key_in_environment() -> bool:
    """Whether the master key comes from the environment, so that no file is looked for."""
    return bool(os.environ.get(MASTER_KEY_VARIABLE))


def _without_password(url: str) -> str:
    """A database URL as it may be shown, without a password before the host or in the query. libpq reads it so, too."""
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    user, at, _ = authority.rpartition("@")
    place, mark, query = rest[len(user + at) :].partition("?")
    shown = "&".join(part for part in query.split("&") if "password" not in unquote(part.partition("=")[0]))
    return f"{scheme}://{re.split('[:?]', user)[0]}{at}{place}{mark if shown else ''}{shown}"


def _name_of(url: str) -> str:
    """The name of the database in a URL; empty if it is left to the user's name."""
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    return unquote(path)


def _decoded(encoded: str) -> bytes:
    """Octets from base64url, with or without its padding; none if it is something else."""
    text = encoded.strip().rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
