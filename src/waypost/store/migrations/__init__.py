"""The schema migrations, in numbered files named `NNNN_name.<dialect>.sql`.

Each migration runs once, and the migrations run in the order of their numbers. A file begins with a comment, whose
first sentence says what the migration does. Lines of this comment can declare:

- `-- kind: transaction` or `-- kind: concurrently`: how the migration runs (`Kind`).
- `-- needs: NNNN`: the newest migration that a version of Waypost must know to use the database afterwards. A migration
  that only adds something omits this line.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from importlib import resources

from msgspec import Struct

import waypost

_FILE = re.compile(r"(?P<number>\d{4})_(?P<name>\w+)\.(?P<dialect>\w+)\.sql")
_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_HEAD = re.compile(r"(?:--.*\n)+")
_DECLARED = re.compile(r"^-- (kind|needs): (\w+)\n", re.MULTILINE)

LAST_OF_0_1_0 = {"sqlite": 16, "postgres": 14}
"""The number of the newest migration in version 0.1.0, for each dialect. Later files must declare their kind."""


class Kind(StrEnum):
    """How a migration runs."""

    TRANSACTION = "transaction"
    """One transaction runs all statements, and records the migration."""
    CONCURRENTLY = "concurrently"
    """Each statement is a transaction of its own, and does not stop clients that write. An interrupted migration begins
    again, so each statement can be repeated. Only on PostgreSQL."""


COPYING = 1_000_000_000
"""The number in the table of migrations while `waypost copy` fills a database. It is greater than the number of any
migration, so that no server of any version starts with an incomplete copy.
"""


class SchemaTooNew(Exception):
    """The database was migrated by a newer version of Waypost, and this version cannot use the new schema."""


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
    kind: Kind = Kind.TRANSACTION
    needs: int = 0
    """The newest migration that a version must know to use the database afterwards; 0 if each version can."""

    @property
    def what(self) -> str:
        """What the migration does, in one sentence."""
        head = _HEAD.match(self.sql)
        lines = _DECLARED.sub("", head[0] if head else "").splitlines()
        text = " ".join(line.removeprefix("--").strip() for line in lines)
        return re.split(r"(?<=\.) ", text, maxsplit=1)[0]


class Applied(Struct, frozen=True):
    """A migration that has run on a database. Version 0.1.0 has recorded only its number."""

    number: int
    waypost: str | None = None
    """The version of Waypost that has run it."""
    needs: int | None = None
    """As in `Migration`; None if it is not known."""


@cache
def known(dialect: str) -> tuple[Migration, ...]:
    """Return all migrations for an SQL dialect, in order. The dialect is `sqlite` or `postgres`."""
    found = []
    for file in resources.files(__name__).iterdir():
        match = _FILE.fullmatch(file.name)
        if match and match["dialect"] == dialect:
            found.append(parsed(int(match["number"]), match["name"], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


def parsed(number: int, name: str, sql: str) -> Migration:
    """Return the migration of a file, with what its comment declares."""
    head = _HEAD.match(sql)
    declared = dict(_DECLARED.findall(head[0] if head else ""))
    kind = Kind(declared.get("kind", Kind.TRANSACTION))
    return Migration(number, name, sql, kind, int(declared.get("needs", 0)))


def pending(dialect: str, applied: Sequence[Applied], *, where: str) -> list[Migration]:
    """Return the migrations that have not yet run on a database, in order.

    `applied` are the migrations that have run, in order. `where` is the name of the database for error messages. If a
    newer version of Waypost has migrated the database, the list is empty if this version can still use the database.
    Otherwise raises `SchemaTooNew`.
    """
    newest = newest_known(dialect)
    if any(one.needs is None or one.needs > newest for one in applied if one.number > newest):
        refuse_newer(dialect, applied, where=where)
    return [step for step in known(dialect) if step.number > newest_of(applied)]


def refuse_newer(dialect: str, applied: Sequence[Applied], *, where: str) -> None:
    """Raise `SchemaTooNew` if a newer version of Waypost has migrated a database, also if this version can use it.

    A copy by this version would lack the tables that it does not know.
    """
    newest = newest_of(applied)
    if newest == COPYING:
        raise SchemaTooNew(
            f"{where} has an incomplete copy of another database. Run `waypost copy` again to complete the copy, or "
            "use another database."
        )
    if newest > newest_known(dialect):
        version = next(one.waypost for one in applied if one.number == newest)
        newer, later = (f"Waypost {version}", " or a newer one") if version else ("a newer version of Waypost", "")
        raise SchemaTooNew(
            f"{where} has schema {newest}, which {newer} has made, but this is Waypost {waypost.__version__}, which "
            f"knows schemas only up to {newest_known(dialect)}. Use {newer}{later}. To go back to "
            "this version, restore the backup that you made before the upgrade."
        )


def newest_of(applied: Sequence[Applied]) -> int:
    """Return the number of the newest migration that has run, or 0 for a new database."""
    return max((one.number for one in applied), default=0)


def refuse_old(dialect: str, *, newest: int, where: str) -> None:
    """Raise `SchemaTooOld` if not all migrations have run on a database. `newest` is the number of the newest migration
    that has run.
    """
    if newest < newest_known(dialect):
        raise SchemaTooOld(
            f"{where} has the schema of an older version of Waypost. First run `waypost migrate --run` of this "
            "version with this database."
        )


def newest_known(dialect: str) -> int:
    """Return the number of the newest migration for an SQL dialect."""
    return known(dialect)[-1].number


def tables_of(step: Migration) -> set[str]:
    """Return the names of the tables that a migration creates."""
    return set(_TABLE.findall(step.sql))


def tables(dialect: str) -> set[str]:
    """Return the names of all tables that migrations create, without those in which migrations are recorded. A later
    migration may have removed or renamed some.
    """
    return set().union(*map(tables_of, known(dialect))) - {"migration_versions"}
