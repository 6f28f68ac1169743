"""Builds the SQL that inserts several rows with a named query that inserts one row."""

import re

_INSERT = re.compile(r"(INSERT INTO \w+ \([^()]*\)\s+VALUES )(\([^()]*\))")
"""A statement that only inserts one row, in two parts: the SQL before the row, and the row."""

_PARAMETER = re.compile(r"([?$])(\d+)")


def only_inserts(sql: str) -> bool:
    """Return whether a statement only inserts one row."""
    return _INSERT.fullmatch(sql) is not None


def of_rows(sql: str, count: int) -> str:
    """Return the SQL that inserts `count` rows. The parameters of each row follow those of the row before.

    Raises `ValueError` if the statement does anything else than insert one row.
    """
    parts = _INSERT.fullmatch(sql)
    if parts is None:
        raise ValueError(f"this statement does not only insert a row: {sql}")
    start, row = parts.groups()
    width = max(int(number) for _, number in _PARAMETER.findall(row))

    def numbered(place: int) -> str:
        return _PARAMETER.sub(lambda match: f"{match[1]}{int(match[2]) + place * width}", row)

    return start + ", ".join(map(numbered, range(count)))
