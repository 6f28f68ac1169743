"""The named queries. `common/` has those that both databases run, `sqlite/` and `postgres/` what only one of them can.

A query begins with `-- name: NAME(PARAMETERS)`; the caller gives the parameters in this order. A comment says why the
query is there and, in the files of one database, why it is not in `common/`. The SQL follows. Where both databases
have a query of one name, it has the same parameters in both. In the SQL stand

    :name              a parameter
    {messages}         the columns of a table (`tables.py`), as `id, sender, …`
    {m.messages}       the same, of the table under its alias: `m.id, m.sender, …`
    {:messages}        a parameter for each of them, as INSERT needs them
    {in :ids}          that the value before it is in a list of texts, which is one parameter
    {sqlite: SQL}      what only this database is told
    {postgres: SQL}    likewise

All of this is done once, when the program starts: what runs is plain SQL with numbered parameters.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from waypost.store.sql import tables

_NAME = re.compile(r"\w+")
_INSERTED = re.compile(
    r"\{(?:(?P<only>sqlite|postgres): (?P<sql>[^}]+)|in :(?P<list>\w+)|(?P<of>:|\w+\.)?(?P<table>\w+))\}"
)
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")

_NUMBERED = {"sqlite": "?", "postgres": "$"}
"""What comes before the number of a parameter."""

_AMONG = {"sqlite": "IN (SELECT value FROM json_each(:{}))", "postgres": "= ANY (:{})"}
"""How a list of texts is one parameter: as JSON, and as an array."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one database."""

    parameters: tuple[str, ...]
    """Their names, in the order in which they are given."""
    sql: str
    """Without comments, its parameters numbered."""


def load(dialect: str) -> Mapping[str, Query]:
    """The queries of a database (`sqlite` or `postgres`) by name.

    Raises `KeyError` for a table that is not in `tables.LISTS`, and `ValueError` for a parameter that is not at the top
    of its query, or a name that two queries have.
    """
    found: dict[str, Query] = {}
    for text in texts(dialect):
        for query in _expanded(text, dialect).split("\n-- name: ")[1:]:
            head, _, sql = query.partition("\n")
            name, *parameters = _NAME.findall(head)
            if name in found:
                raise ValueError(f"there are two queries named {name}")
            found[name] = Query(tuple(parameters), _numbered(_bare(sql), parameters, _NUMBERED[dialect]))
    return found


def texts(dialect: str) -> list[str]:
    """The files of a database: the common ones, then its own, each in the order of their names."""
    folders = (resources.files(__name__).joinpath(folder) for folder in ("common", dialect))
    files = [file for folder in folders for file in sorted(folder.iterdir(), key=lambda file: file.name)]
    return [file.read_text(encoding="utf-8") for file in files if file.name.endswith(".sql")]


def _expanded(text: str, dialect: str) -> str:
    """The text of a file with what stands for what is in braces."""

    def insert(match: re.Match[str]) -> str:
        if match["only"]:
            return match["sql"] if match["only"] == dialect else ""
        if match["list"]:
            return _AMONG[dialect].format(match["list"])
        return ", ".join(f"{match['of'] or ''}{name}" for name in tables.LISTS[match["table"]])

    return _INSERTED.sub(insert, text)


def _bare(sql: str) -> str:
    lines = (line.rstrip() for line in sql.splitlines() if not line.startswith("--"))
    return "\n".join(lines).strip().rstrip("; \n")


def _numbered(sql: str, names: Sequence[str], mark: str) -> str:
    return _PARAMETER.sub(lambda match: f"{mark}{names.index(match[1]) + 1}", sql)
