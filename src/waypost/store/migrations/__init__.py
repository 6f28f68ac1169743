"""The schema migrations, in numbered files named `NNNN_name.<dialect>.sql`.

Each migration runs once, and the migrations run in the order of their numbers. The transaction that runs a migration
also records the migration's number.
"""

import re
from importlib import resources

from msgspec import Struct

_FILE = re.compile(r"(?P<number>\d{4})_(?P<name>\w+)\.(?P<dialect>\w+)\.sql")
_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)


COPYING = 1_000_000_000
"""The number in the table of migrations while `waypost copy` fills a database. It is greater than the number of any
migration, so that no server of any version starts with an incomplete copy.
"""


class SchemaTooNew(Exception):
    """The database was migrated by a newer version of Waypost, and this version does not know the new schema."""


class SchemaTooOld(Exception):
    """The database has the schema of an older version of Waypost, which may still be using the database."""


class SchemaMissing(Exception):
    """The database contained Waypost's tables before, but now contains none of them. Waypost must not silently create
    the tables again, because then the operator might not notice the loss of the data.
    """

    def __init__(self, where: str) -> None:
        """`where` is the name of the database for the error message."""
        super().__init__(f"{where} contains none of Waypost's tables")


class Migration(Struct, frozen=True):
    """One migration of the schema, with its number, its name and its SQL."""

    number: int
    name: str
    sql: str


def known(dialect: str) -> list[Migration]:
    """Return all migrations for an SQL dialect, in order. The dialect is `sqlite` or `postgres`."""
    found = []
    for file in resources.files(__name__).iterdir():
        match = _FILE.fullmatch(file.name)
        if match and match["dialect"] == dialect:
            found.append(Migration(int(match["number"]), match["name"], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def pending(dialect: str, *, newest_applied: int, where: str) -> list[Migration]:
    """Return the migrations that have not yet run on a database, in order.

    `newest_applied` is the number of the last migration that has run on the database, or 0. `where` is the name of the
    database for error messages. Raises `SchemaTooNew` if the database was migrated by a newer version of Waypost.
    """
    if newest_applied == COPYING:
        raise SchemaTooNew(
            f"{where} has an incomplete copy of another database. Run `waypost copy` again to complete the copy, or "
            "use another database."
        )
    if newest_applied > newest_known(dialect):
        raise SchemaTooNew(
            f"{where} has schema {newest_applied}, but this version of Waypost knows schemas only up to "
            f"{newest_known(dialect)}. A newer version of Waypost has used this database. Start the newer "
            "version, or use another database."
        )
    return [step for step in known(dialect) if step.number > newest_applied]


def refuse_old(dialect: str, *, newest_applied: int, where: str) -> None:
    """Raise `SchemaTooOld` if not all migrations have run on a database. The arguments are as for `pending`, which may
    raise `SchemaTooNew`.
    """
    if pending(dialect, newest_applied=newest_applied, where=where):
        raise SchemaTooOld(
            f"{where} has the schema of an older version of Waypost. First start a server of this version with this "
            "database, and stop it."
        )


def newest_known(dialect: str) -> int:
    """Return the number of the newest migration for an SQL dialect."""
    return known(dialect)[-1].number


def tables(dialect: str) -> set[str]:
    """Return the names of all tables that migrations create. A later migration may have removed or renamed some."""
    return {name for step in known(dialect) for name in _TABLE.findall(step.sql)}
