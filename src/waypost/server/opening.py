"""Opens the store of a data directory, for a server or for a command that reads and writes the store itself. Also opens
the log of a server.
"""

import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from waypost.app import ports
from waypost.app.directory import access_keys
from waypost.config.settings import FEWEST, Settings
from waypost.domain import errors
from waypost.host import data_directory, first_start, master_key, sealing
from waypost.host.clock import now
from waypost.observe import events, logs
from waypost.server import runtime
from waypost.store.migrations import SchemaMissing, SchemaTooNew, SchemaTooOld
from waypost.store.sqlite.file import SqliteTooOld
from waypost.store.sqlite.store import SqliteStore

T = TypeVar("T")


NO_DRIVER = "The PostgreSQL driver is not installed. Install the driver with: pip install 'psycopg[binary]'"


class CannotStart(Exception):
    """The service cannot start. The error message gives the reason and a remedy."""


class Refused(Exception):
    """A command was refused. The error message gives the reason."""


def open_log(
    settings: Settings, *, worker: int = 0, has_thread: bool = True, count: events.Emit = lambda _: None
) -> logs.Log:
    """Open the log of a server. The arguments are as for `logs.Log`. Raises `CannotStart` if the log file cannot be
    opened.
    """
    try:
        return logs.Log(settings.log, worker=worker, has_thread=has_thread, count=count)
    except OSError as error:
        raise CannotStart(f"The log file {settings.log_file} cannot be opened: {error.strerror}.") from error


def open_store(
    directory: data_directory.DataDirectory,
    database: str = "",
    *,
    connections: int = Settings().database_connections,
    prepares: bool = Settings().database_prepared_statements,
    migrates: bool = Settings().database_migrations,
    only_new: bool = False,
    on_commit: ports.OnCommit = ports.not_measured,
) -> ports.Store:
    """Open the store of a data directory, for use on the running event loop.

    The store is the PostgreSQL database at the URL `database`, or the data directory's SQLite file if the URL is empty.
    If `prepares` is false, the store works through a pooler that assigns a different PostgreSQL session to each
    transaction. A database with the schema of an older version of Waypost is migrated. If `migrates` is false, the
    function raises `CannotStart` instead of migrating a PostgreSQL database. If `only_new` is true, it raises
    `SchemaTooOld` instead of migrating any database. Raises `CannotStart` and `DataDirectoryError`.
    """
    may_make = first_start.may_make_database(directory, database)
    seal = directory.master_keys.keyring()
    try:
        if database:
            store = _postgres(
                database,
                seal,
                connections=connections,
                prepares=prepares,
                only_new=only_new or not migrates,
                may_make=may_make,
                on_commit=on_commit,
            )
        else:
            store = SqliteStore(directory.database, seal, only_new=only_new, may_make=may_make, on_commit=on_commit)
    except SchemaMissing as error:
        raise first_start.lost(directory, str(error), database) from error
    except SchemaTooOld as error:
        if only_new:
            raise
        raise CannotStart(
            f"{error} This server does not migrate it (--database-migrations no). Run `waypost migrate --run` of this "
            "version first."
        ) from error
    except (ports.StoreUnavailable, SchemaTooNew, SqliteTooOld, sealing.SealBroken) as error:
        raise CannotStart(str(error)) from error
    directory.note_database()
    return store


def _postgres(database: str, seal: sealing.Keyring, **options: Any) -> ports.Store:
    """Open the store on PostgreSQL. Raises `CannotStart`."""
    try:
        store: ports.Store = postgres("store").PostgresStore(database, seal, **options)
    except postgres("connection").BadDatabase as error:
        raise CannotStart(str(error)) from error
    return store


def postgres(name: str) -> ModuleType:
    """Return a module of the package for PostgreSQL. Raises `CannotStart` if the driver is not installed.

    Only this function imports the driver, which is an optional package.
    """
    try:
        module = importlib.import_module(f"waypost.store.postgres.{name}")
    except ImportError as error:
        raise CannotStart(NO_DRIVER) from error
    runtime.silence("psycopg")  # its log lines quote rows of data, and it raises every error that it logs
    return module


def postgresql_settings(url: str) -> tuple[Mapping[str, str], float]:
    """Read settings and the clock of the PostgreSQL server at a URL (`server_settings.read`). Raises `CannotStart` and
    `StoreUnavailable`.
    """
    try:
        found: tuple[Mapping[str, str], float] = postgres("server_settings").read(url)
    except postgres("connection").BadDatabase as error:
        raise CannotStart(str(error)) from error
    return found


def adopting(directory: data_directory.DataDirectory) -> Callable[[ports.WriteTx], None]:
    """Return a function that copies the access keys from the credentials file into the database, once for each
    deployment.

    Older versions of Waypost stored their access keys only in the credentials file.
    """
    keys = [profile.key for profile in directory.profiles()] if directory.credentials.exists() else []
    return partial(access_keys.adopt, keys=keys, now=now())


@asynccontextmanager
async def administering(
    directory: data_directory.DataDirectory, *, database: str = "", make: bool = False
) -> AsyncIterator[ports.Store]:
    """Open the store of a data directory for a command, whether or not a server is using the directory.

    If `make` is true and the data directory does not exist, it is created. Raises `CannotStart`, `Refused` or
    `DataDirectoryError` if the store cannot be opened. Domain errors and store errors inside the `async with` block are
    raised as `Refused`.
    """
    database = directory.where(database)
    with of_its_owner(directory, database):
        if make and not database:
            directory.make()
        elif not database:
            directory.refuse_others()
        refuse_missing(directory, database, make=make)
        try:
            # There may be a pooler between the command and PostgreSQL, and a command gains nothing by preparing.
            store = open_store(directory, database, connections=FEWEST, prepares=False, only_new=True)
        except SchemaTooOld as error:
            if database:
                raise Refused(f"{error} Migrate it first: waypost migrate --run") from error
            with directory.held():  # so that no server of the older version uses the data directory meanwhile
                store = open_store(directory)
        try:
            await store.write(adopting(directory))
            yield store
        except (errors.WaypostError, sealing.SealBroken, ports.StoreUnavailable) as error:
            raise Refused(str(error)) from error
        finally:
            await store.close()


@contextmanager
def of_its_owner(directory: data_directory.DataDirectory, database: str) -> Iterator[None]:
    """Run the `with` block of a command with the rights of the data directory's owner, and make new files private.

    With PostgreSQL, the process keeps the rights of its user, because root may connect to PostgreSQL with a different
    name and password than the owner of the directory. The command only reads the directory, so it does not need the
    owner's rights.
    """
    rights = nullcontext() if database else directory.of_its_owner()
    with rights, runtime.new_files_are_private():
        yield


def refuse_missing(directory: data_directory.DataDirectory, database: str, *, make: bool = False) -> None:
    """Raise `Refused` if no server has ever used the data directory, unless `make` allows its creation."""
    if make and not database:
        return
    if database and master_key.is_master_key_in_environment():
        return
    if not directory.has_database and not first_start.signs_of_database(directory):
        further = f", or set {master_key.MASTER_KEY_VARIABLE}" if database else ""
        raise Refused(f"There is no Waypost data in {directory.path}. Name the data directory with --data{further}.")


async def administer(
    directory: data_directory.DataDirectory,
    use_case: Callable[[ports.WriteTx], T],
    *,
    database: str = "",
    make: bool = False,
) -> T:
    """Run one use case in a write transaction on the store that `administering` opens."""
    async with administering(directory, database=database, make=make) as store:
        return await store.write(use_case)
