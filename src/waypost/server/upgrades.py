"""Shows and runs the migrations of a deployment's database, for `waypost migrate`."""

from collections.abc import Iterator
from contextlib import contextmanager

from waypost.app import ports
from waypost.app.ports.upgrades import ReportMigration, Upgrade
from waypost.host import first_start
from waypost.host.data_directory import DataDirectory
from waypost.server import opening
from waypost.server.opening import Refused
from waypost.store.migrations import SchemaMissing, SchemaTooNew
from waypost.store.sqlite import upgrades as sqlite_upgrades


def plan(directory: DataDirectory, *, database: str = "") -> Upgrade:
    """Return the migrations that have not run. Servers can use the database meanwhile.

    The database is that of the data directory or, if `database` is not empty, the PostgreSQL database with that URL.
    Then the data directory need not exist. Raises `Refused`, `CannotStart` and `DataDirectoryError`.
    """
    database = directory.where(database)
    with _refusing(directory, database):
        return opening.postgres("upgrades").plan(database) if database else sqlite_upgrades.plan(directory.database)


def run(directory: DataDirectory, report: ReportMigration, *, database: str = "") -> None:
    """Run the migrations. Servers can use a PostgreSQL database meanwhile, but not an SQLite file.

    In an empty PostgreSQL database, the migrations create the tables, unless the data directory shows that the database
    had tables before. The arguments and the exceptions are the same as for `plan`.
    """
    database = directory.where(database)
    with _refusing(directory, database):
        if database:
            may_make = first_start.may_make_database(directory, database)
            opening.postgres("upgrades").run(database, report, may_make=may_make)
        else:
            first_start.may_make_database(directory, "")  # refuses a file that has lost its write-ahead log
            with directory.held():
                sqlite_upgrades.run(directory.database, report)


@contextmanager
def _refusing(directory: DataDirectory, database: str) -> Iterator[None]:
    """Run the `with` block with the rights of the data directory's owner. Raise `Refused` or `DataDirectoryError` with
    the message of an exception that prevents the command from being carried out.
    """
    try:
        with opening.of_its_owner(directory, database):
            if not database:
                directory.refuse_others()
                opening.refuse_missing(directory, database)
            yield
    except SchemaMissing as error:
        raise first_start.lost(directory, str(error), database) from error
    except (ports.StoreUnavailable, SchemaTooNew) as error:
        raise Refused(str(error)) from error
