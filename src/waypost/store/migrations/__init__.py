"""Numbered migrations, `NNNN_name.<dialect>.sql`: each runs once, in order, in one transaction with its record."""

import re
from dataclasses import dataclass
from importlib import resources

_FILE = re.compile(r"(?P<number>\d{4})_(?P<name>\w+)\.(?P<dialect>\w+)\.sql")


class SchemaTooNew(Exception):
    """The database was migrated by a newer Waypost, whose schema this one does not know."""


class SchemaTooOld(Exception):
    """The database has the schema of an older Waypost, which may be running on it now."""


class SchemaMissing(Exception):
    """The database has no tables of Waypost, and they must not be created, because it had some before."""

    def __init__(self, where: str) -> None:
        """`where` names the database."""
        super().__init__(f"{where} has no tables of Waypost")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str


def known(dialect: str) -> list[Migration]:
    """All migrations that this program knows for a dialect, in order."""
    found = []
    for file in resources.files(__name__).iterdir():
        match = _FILE.fullmatch(file.name)
        if match and match["dialect"] == dialect:
            found.append(Migration(int(match["number"]), match["name"], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def pending(dialect: str, *, newest_applied: int, where: str) -> list[Migration]:
    """The migrations still to run on a database. Raises `SchemaTooNew`; `where` names the database."""
    steps = known(dialect)
    newest_known = steps[-1].number
    if newest_applied > newest_known:
        raise SchemaTooNew(
            f"{where} has schema {newest_applied}, and this Waypost knows schemas up to {newest_known}. "
            "It was written by a newer version: start that version, or point this one at other data."
        )
    return [step for step in steps if step.number > newest_applied]
