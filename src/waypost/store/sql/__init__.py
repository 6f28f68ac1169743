"""Loads the store's named queries from the `.sql` files.

The folder `common/` contains the queries that are the same for SQLite and PostgreSQL. The folders `sqlite/` and
`postgres/` contain the queries that differ.

A query begins with the line `-- name: NAME(PARAMETERS)`. Callers pass the parameters in the order in which this line
lists them. The next lines are a comment that says what the query does. In `sqlite/` and `postgres/`, the comment also
says why the query is not in `common/`. The SQL follows the comment. If both databases have a query with the same name,
the two queries have the same parameters. SQL that several queries have in common stands after a line `-- part: NAME`,
for all files. The SQL of a query can contain

    :name              a parameter
    {messages}         the columns of a table (`tables.py`): `id, sender, …`
    {m.messages}       the columns of a table that has an alias: `m.id, m.sender, …`
    {:messages}        a parameter for each column of a table, for INSERT: `:id, :sender, …`
    {+name}            the SQL of a part
    {in :ids}          a condition: the value before it is in a list of strings, which is a single parameter
    {in :a, :b}        a condition: the row of values before it, such as `(x, y)`, is in parallel lists of strings
    {sqlite: SQL}      SQL for SQLite only
    {postgres: SQL}    SQL for PostgreSQL only

These placeholders are replaced once, when the program starts, with plain SQL that has numbered parameters.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources

from msgspec import Struct

from waypost.store.sql import tables

_NAME = re.compile(r"\w+")
_INSERTED = re.compile(
    r"\{(?:(?P<only>sqlite|postgres): (?P<sql>[^}]+)|in (?P<lists>:\w+(?:, :\w+)*)|(?P<of>:|\w+\.)?(?P<table>\w+))\}"
)
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")
_SECTION = re.compile(r"^-- (name|part): ", re.MULTILINE)
_PART = re.compile(r"\{\+(\w+)\}")

_NUMBERED = {"sqlite": "?", "postgres": "$"}
"""The character that precedes a parameter's number in each database's SQL."""


class Query(Struct, frozen=True):
    """A named query, in the SQL dialect of one database."""

    parameters: tuple[str, ...]
    """The names of the parameters, in the order in which callers pass them."""
    sql: str
    """The SQL with numbered parameters and without comments."""


def load(dialect: str) -> Mapping[str, Query]:
    """Return the queries for a database (`sqlite` or `postgres`), by their names.

    Raises `KeyError` if a query names a part that is in no file, or a table that is not in `tables.LISTS`. Raises
    `ValueError` if a query uses a parameter that its first line does not list, or if two queries have the same name.
    """
    sections = [section for text in texts(dialect) for section in _sections(text)]
    parts = {head: _bare(sql) for kind, head, sql in sections if kind == "part"}
    found: dict[str, Query] = {}
    for kind, head, sql in sections:
        if kind == "name":
            name, *parameters = _NAME.findall(_expanded(head, dialect))
            if name in found:
                raise ValueError(f"there are two queries named {name}")
            whole = _expanded(_PART.sub(lambda match: parts[match[1]], sql), dialect)
            found[name] = Query(tuple(parameters), _numbered(_bare(whole), parameters, _NUMBERED[dialect]))
    return found


def _sections(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the queries and parts of a file: `name` or `part`, the rest of the first line, and the other lines."""
    _, *pieces = _SECTION.split(text)
    for kind, section in zip(pieces[::2], pieces[1::2], strict=True):
        head, _, sql = section.partition("\n")
        yield kind, head, sql


def texts(dialect: str) -> list[str]:
    """Return the contents of the `.sql` files for a database: first the common files, then the database's own files.

    The files in each folder are sorted by name.
    """
    folders = (resources.files(__name__).joinpath(folder) for folder in ("common", dialect))
    files = [file for folder in folders for file in sorted(folder.iterdir(), key=lambda file: file.name)]
    return [file.read_text(encoding="utf-8") for file in files if file.name.endswith(".sql")]


def _expanded(text: str, dialect: str) -> str:
    """Return the text of a file with all placeholders in braces expanded."""

    def insert(match: re.Match[str]) -> str:
        if match["only"]:
            return match["sql"] if match["only"] == dialect else ""
        if match["lists"]:
            return _AMONG[dialect](match["lists"].split(", "))
        return ", ".join(f"{match['of'] or ''}{name}" for name in tables.LISTS[match["table"]])

    return _INSERTED.sub(insert, text)


def _among_sqlite(lists: Sequence[str]) -> str:
    """Return the SQL that tests whether a value, or a row of values, is in one or more lists. Each list is a JSON
    text.
    """
    first, *others = lists
    values = ["value", *(f"json_extract({other}, '$[' || key || ']')" for other in others)]
    return "IN (SELECT {} FROM json_each({}))".format(", ".join(values), first)  # noqa: S608 - a part of our own SQL


def _among_postgres(lists: Sequence[str]) -> str:
    """Return the SQL that tests whether a value, or a row of values, is in one or more lists. Each list is an array."""
    if len(lists) == 1:
        return f"= ANY ({lists[0]})"
    return "IN (SELECT * FROM unnest({}))".format(", ".join(f"{each}::text[]" for each in lists))  # noqa: S608 - as above


_AMONG = {"sqlite": _among_sqlite, "postgres": _among_postgres}


def _bare(sql: str) -> str:
    lines = (line.rstrip() for line in sql.splitlines() if not line.startswith("--"))
    return "\n".join(lines).strip().rstrip("; \n")


def _numbered(sql: str, names: Sequence[str], mark: str) -> str:
    return _PARAMETER.sub(lambda match: f"{mark}{names.index(match[1]) + 1}", sql)
