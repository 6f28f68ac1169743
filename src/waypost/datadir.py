"""The data directory: which files are in it, and how each is made and read.

waypost.sqlite3     all email addresses, mail, and access keys, their secrets sealed. Not there if that is in PostgreSQL
database            where that is in PostgreSQL: its URL, without the password. Not there if it is here
credentials         the owner's access key, as an AWS shared-credentials file; only for the owner's eyes
master.key          32 octets that seal the secrets in the database; only for the owner's eyes. Not there if
                    WAYPOST_MASTER_KEY has it
run.json            where the running server is; there only while it runs
lock                held by the running server
first-start         there only until the first start has made the database, so that one that was killed can go on
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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from waypost.domain.access_keys import AccessKey

MASTER_KEY_VARIABLE = "WAYPOST_MASTER_KEY"
"""The environment variable with the master key, in place of the file: 32 octets in base64url."""

_MASTER_KEY_OCTETS = 32

_HALF_WRITTEN = f"{'[0-9a-f]' * 8}.new"
"""How the name of a file ends, as a pattern, that is being written and will replace another one."""

_OWN_CREDENTIALS = "# The owner's access key for Waypost."
"""How a credentials file begins that a server has written."""


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
    """All addresses where mail is taken, as they are listened on: by SMTP, SMTP over TLS, or LMTP."""
    hostname: str = ""
    """What the server calls itself."""
    dns: str = ""
    """The DNS resolvers that it was told to ask, as in its setting; empty for the system's."""
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
        self.database = path / "waypost.sqlite3"
        self.credentials = path / "credentials"
        self._elsewhere = path / "database"
        self._master_key = path / "master.key"
        self._run = path / "run.json"
        self._first_start = path / "first-start"
        self._lock_file: IO[bytes] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a while, so that no server runs meanwhile. Raises `DataDirectoryError` if one does."""
        self.prepare()
        try:
            yield
        finally:
            self.release()

    def make(self) -> None:
        """Make the directory if it is not there. Raises `DataDirectoryError`."""
        os.umask(0o077)  # mail and keys are for the owner's eyes, also in a directory that others may enter
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for kept in (*self.path.glob(f"{self.database.name}*"), self.credentials, self._master_key):
                if kept.exists():  # perhaps copied from a backup that others could read
                    kept.chmod(0o600)
        except OSError as error:
            raise self._unusable(error) from error

    def prepare(self) -> None:
        """Make the directory and take its lock. Raises `DataDirectoryError` if a server has it already."""
        self.make()
        with ExitStack() as opened:
            try:
                lock = opened.enter_context((self.path / "lock").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.database.exists() and not os.access(self.database, os.W_OK):
                    raise DataDirectoryError(f"{self.database} cannot be written.")
                for left in (self._run, *self.path.glob(f"*.{_HALF_WRITTEN}")):  # by a server that was killed
                    left.unlink(missing_ok=True)
            except BlockingIOError as error:
                raise DataDirectoryError(
                    f"Another Waypost is running on {self.path}. Stop it, or choose another directory with --data."
                ) from error
            except OSError as error:
                raise self._unusable(error) from error
            self._lock_file = lock
            opened.pop_all()

    def where(self, database: str) -> str:
        """Which PostgreSQL database this directory's data is in: the one asked for, or else the remembered one, or "".

        It may have moved to another host. Raises `DataDirectoryError` if one with another name is asked for, or a
        directory that has its own: somebody made a mistake, and would get an empty Waypost.
        """
        if database and self._remembered and _name_of(database) != _name_of(self._remembered):
            raise DataDirectoryError(
                f"{self.path} belongs to a server on {self._remembered}, which is another database. Choose another "
                f"directory with --data; or remove {self._elsewhere}, if the data is there now."
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
            remembered = self._elsewhere.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DataDirectoryError(f"{self._elsewhere} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            remembered = ""
        if not remembered.startswith(("postgresql://", "postgres://")):  # or an empty file of a database would be made
            raise DataDirectoryError(
                f"{self._elsewhere} must have the URL of a PostgreSQL database, without its password. Restore it from "
                "your backup, or write that URL into it."
            )
        return remembered

    def may_make_database(self, database: str) -> bool:
        """Whether the database may be made: the PostgreSQL `database`, or the file of this directory where that is "".

        It may at the first start of a directory, which the file `first-start` tells until `database_made`: a first
        start that was killed is gone on with. Afterwards a database that is not there was lost, and a server on an
        empty one would refuse all mail. Raises `DataDirectoryError` if the file was lost, or a part of it.
        """
        try:
            if not self.signs_of_database(database):
                if self.path.exists():
                    _write_private(self._first_start, "")
                return True
            if self._first_start.exists():
                return True
            if not database:
                self._refuse_lost_file()
        except OSError as error:
            raise self._unusable(error) from error
        return False

    def database_made(self) -> None:
        """The database is there from now on."""
        try:
            self._first_start.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def signs_of_database(self, database: str) -> list[Path]:
        """The files of this directory that only a server or command leaves which has made its database.

        `database` is as in `may_make_database`. Raises `OSError`.
        """
        if database:  # the master key of a further node is put there before its first start
            own = [self._elsewhere] if self._elsewhere.exists() else []
        else:
            own = [file for file in (self._master_key, *self._database_files) if _size(file)]
        return [*own, *([self.credentials] if self._has_own_credentials() else [])]

    def lost(self, what: str, database: str) -> DataDirectoryError:
        """The refusal to start on a database of which nothing is left. `what` names it and says so."""
        signs = self.signs_of_database(database)
        others = ", or name the database that has its data" if database else ""
        hint = "" if database else " If the data is in PostgreSQL, name the database with --database."
        return DataDirectoryError(
            f"{what}, but a server has kept its data there, as {_listed(file.name for file in signs)} in {self.path} "
            f"show. Restore the database from your backup{others}.{hint} To start anew, without email addresses and "
            f"mail, remove {_listed(map(str, signs))}."
        )

    def _refuse_lost_file(self) -> None:
        """Raise `DataDirectoryError` if the file of the database, or its write-ahead log, was lost."""
        if not self.database.exists():
            raise self.lost(f"{self.database} is missing", "")
        if not _size(self.database):
            raise self.lost(f"{self.database} is empty", "")
        _, log, index, _ = self._database_files
        # SQLite makes the log before its index, and a server that ends in order removes the index before the log.
        if not log.exists() and index.exists() and not log.exists():
            raise DataDirectoryError(
                f"{log} is missing. A server that did not end in order had its last changes there, perhaps all. "
                f"Restore it, or the whole database from your backup. To start without these changes, remove {index}."
            )

    @property
    def _database_files(self) -> list[Path]:
        """Where SQLite keeps the database: the file, its write-ahead log, the index of that, and an older log."""
        return [self.database.with_name(f"{self.database.name}{end}") for end in ("", "-wal", "-shm", "-journal")]

    def _has_own_credentials(self) -> bool:
        """Whether the credentials file was written by a server, and not by a Waypost that had no access keys yet."""
        try:
            with self.credentials.open("rb") as file:
                return file.read(len(_OWN_CREDENTIALS)) == _OWN_CREDENTIALS.encode()
        except FileNotFoundError:
            return False

    def remember_database(self, url: str) -> None:
        """Keep in mind, but for the password, that this is the directory of a server on a PostgreSQL database.

        Whoever starts it again, or asks for its access keys, then need not say so again, and gets no empty Waypost.
        """
        _write_private(self._elsewhere, _without_password(url) + "\n")

    @property
    def data_at(self) -> str:
        """Where all data is, for people."""
        return self._remembered or str(self.database)

    @property
    def has_database(self) -> bool:
        """Whether a server has run on this directory."""
        return self.database.exists() or self._elsewhere.exists()

    def write_credentials(self, key: AccessKey, *, region: str) -> None:
        """Keep the owner's access key where `waypost env` and AWS tools find it."""
        profile = (
            f"{_OWN_CREDENTIALS} It is good for nothing else.\n"
            "[default]\n"
            f"aws_access_key_id = {key.id}\n"
            f"aws_secret_access_key = {key.secret}\n"
            f"aws_account_id = {key.account}\n"
            f"region = {region}\n"
        )
        _write_private(self.credentials, profile)

    @property
    def certificate(self) -> Path:
        """The certificate that was made for development; its key is beside it."""
        return self.path / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        """The key of that certificate."""
        return self.path / "certificate-key.pem"

    def write_certificate(self, certificate: bytes, key: bytes) -> None:
        """Keep a certificate that was made for development."""
        _write_private(self.certificate_key, key.decode())
        _write_private(self.certificate, certificate.decode())

    def profiles(self) -> list[Profile]:
        """All profiles of the credentials file, in its order; at least one. Raises `DataDirectoryError`."""
        parser = configparser.RawConfigParser(default_section="", interpolation=None)
        try:
            parser.read_string(self.credentials.read_text(encoding="utf-8"))
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
            master, where = self._master_key_in_file(), str(self._master_key)
        if len(master) != _MASTER_KEY_OCTETS:
            raise DataDirectoryError(
                f"{where} must be {_MASTER_KEY_OCTETS} octets in base64url. Restore it from your backup."
            )
        return hmac.digest(master, purpose.encode(), hashlib.sha256)

    def _master_key_in_file(self) -> bytes:
        """The master key of this directory; made with a new database."""
        if not self._master_key.exists():
            if self.has_database:
                raise DataDirectoryError(
                    f"{self._master_key} is missing. Restore it from your backup, or set {MASTER_KEY_VARIABLE}."
                )
            made = secrets.token_bytes(_MASTER_KEY_OCTETS)
            _write_private(self._master_key, base64.urlsafe_b64encode(made).decode() + "\n", replace=False)
        try:
            return _decoded(self._master_key.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataDirectoryError(f"{self._master_key} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            return b""

    def announce(self, run: Run) -> None:
        """Say where the server is, once it is ready. Raises `DataDirectoryError`."""
        _write_private(self._run, json.dumps(asdict(run)) + "\n")

    def running(self) -> Run:
        """Where the running server can be connected to. Raises `NotRunning`, `DataDirectoryError`."""
        try:
            told = json.loads(self._run.read_text(encoding="utf-8"))
            run = Run(**{one.name: told[one.name] for one in fields(Run) if one.name in told})  # a newer one tells more
        except FileNotFoundError as error:
            raise NotRunning(
                f"No Waypost is running on {self.path}. Start one with: waypost serve --data {self.path}"
            ) from error
        except OSError as error:
            raise DataDirectoryError(f"{self._run} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError) as error:
            raise DataDirectoryError(f"{self._run} is not one of ours. Start Waypost again, and it is.") from error
        return replace(
            run,
            http=_reachable(run.http),
            smtp=_reachable(run.smtp),
            smtps=_reachable(run.smtps),
            lmtp=_reachable(run.lmtp),
        )

    def _unusable(self, error: OSError) -> DataDirectoryError:
        return DataDirectoryError(f"The data directory {self.path} cannot be used: {error.strerror}.")

    def release(self) -> None:
        """The server is gone: take down its announcement and let go of the lock."""
        try:
            with suppress(OSError):  # the next start removes it
                self._run.unlink(missing_ok=True)
        finally:
            if self._lock_file:
                self._lock_file.close()


def _reachable(address: str) -> str:
    """HOST:PORT to connect to, on this machine, for one that is listened on: 0.0.0.0 and :: are no destinations."""
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        found = ip_address(host.strip("[]"))
        if found.is_unspecified:
            return f"127.0.0.1:{port}" if found.version == 4 else f"[::1]:{port}"
    return address


class _BadProfile(Exception):
    """A profile of the credentials file lacks something, or has something that cannot be."""


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
    """The profiles with each access key but once: AWS tools let two profiles share one."""
    first: dict[str, Profile] = {}
    for profile in profiles:
        if first.setdefault(profile.key.id, profile).key != profile.key:
            raise _BadProfile(f"two profiles have access key {profile.key.id}, and differ in its secret or account.")
    return list(first.values())


def is_master_key_in_environment() -> bool:
    """Whether the master key comes from the environment, so that no file is looked for."""
    return bool(os.environ.get(MASTER_KEY_VARIABLE))


def _write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file that only its owner can read, whole or not at all.

    If `replace` is false, one that is there stays. Raises `DataDirectoryError`.
    """
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                with suppress(FileExistsError):  # another process was quicker
                    path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataDirectoryError(f"{path} cannot be written: {error.strerror}.") from error


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
