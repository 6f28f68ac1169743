"""Builds the SQL for a search on PostgreSQL: an exact filter, and conditions for which PostgreSQL can use an index.

PostgreSQL itself chooses the index, based on its statistics about how often each value occurs. Every email address gets
a number when it is created, and the results are always ordered by this number.
"""

from collections.abc import Sequence
from typing import Any

from waypost.domain import errors
from waypost.domain.directory.search import Comparison, Condition, Every, Field, Tagged, Text
from waypost.store.common import text_starts
from waypost.store.sql import tables

_TEXTS = {Field.ADDRESS: 0, Field.DISPLAY_NAME: 1, Field.DESCRIPTION: 2}
"""The numbers that identify the text fields in trigrams. The field's number is part of each stored trigram, so that the
trigrams of different fields differ."""

_CHARACTERS = 0x11_0000
"""The number of Unicode code points. Three code points and the number of a text field together fit into 63 bits."""

_TRIGRAMS_ASKED_FOR = 12
"""The maximum number of trigrams that a query looks up in the index for one value. The query then compares the whole
value with each row that the index finds."""

_STEP = 3
"""A query looks up every third trigram of a value, and the last, because trigrams that overlap exclude few further
rows. Each trigram takes time, and PostgreSQL expects fewer rows for each, as if trigrams occurred independently."""

Statement = tuple[str, list[Any]]
"""An SQL statement and its parameters."""


def trigrams(texts: Sequence[str]) -> list[int]:
    """Return the trigrams of the three texts of a search entry, as sorted numbers without duplicates.

    A trigram is a sequence of three consecutive characters.
    """
    found: set[int] = set()
    for number, text in enumerate(texts):
        found.update(_trigrams(number, text))
    return sorted(found)


_COLUMNS = f"{tables.columns('email_addresses', 'e')}, {tables.columns('alias_link_ends', 'l')}"


class Search:
    """A search for email addresses in one instance."""

    def __init__(self, condition: Condition, instance_id: str) -> None:
        self._parameters: list[Any] = []
        self._where = f"s.instance_id = {self._parameter(instance_id)} AND {self._filter(condition)}"

    def page(self, *, after: str | None, limit: int) -> Statement:
        """Return the statement that reads one page of results. Each row contains an email address, its alias link, and
        the email address's number. Raises `errors.Invalid` for a cursor of another store.
        """
        if after and not after.isdecimal():
            raise errors.Invalid(text_starts.OTHER_CURSOR)
        parameters = [*self._parameters, int(after) if after else 0, limit]
        place, count = len(parameters) - 1, len(parameters)
        return (
            f"SELECT {_COLUMNS}, f.number"
            " FROM (SELECT s.email_address_id AS id, s.number FROM search_entries AS s"
            f" WHERE {self._where} AND s.number > ${place} ORDER BY s.number LIMIT ${count}) AS f"
            " JOIN email_addresses AS e ON e.id = f.id"
            " LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id ORDER BY f.number"
        ), parameters

    def count(self, *, up_to: int) -> Statement:
        """Return the statement that counts the matches, up to a limit."""
        parameters = [*self._parameters, up_to]
        return (
            "SELECT count(*) FROM (SELECT 1 FROM search_entries AS s"
            f" WHERE {self._where} LIMIT ${len(parameters)}) AS counted"
        ), parameters

    def total(self, counted: Sequence[int], *, found: int, up_to: int) -> int:
        """Return the number of matches, given the row that the `count` statement returned.

        `found` is the number of matches that the page query returned. The result is never less than `found`.
        """
        return max(found, min(counted[0], up_to))

    def place_of(self, row: Sequence[Any]) -> str:
        """Return the cursor of a row. To read the rows after this row, pass the cursor to `page` as the argument
        `after`.
        """
        return str(row[-1])

    def _filter(self, condition: Condition) -> str:
        """Return a condition as an SQL expression on `search_entries AS s`, and add its parameters to the statement."""
        match condition:
            case Text(_, Comparison.EXACT | Comparison.STARTS_WITH):
                return f"({self._is_by_start(condition)})"
            case Text(field, _, value):
                contains = f"strpos(s.{text_starts.COLUMNS[field]}, {self._parameter(value)}) > 0"
                return f"({self._has_trigrams(field, value)} AND {contains})"
            case Tagged(key, value):
                tag = f"t.resource_id = s.email_address_id AND t.key = {self._parameter(key)}"
                if value is not None:
                    tag += f" AND t.value = {self._parameter(value)}"
                return f"EXISTS (SELECT 1 FROM tags AS t WHERE {tag})"
            case Every(parts):
                return f"({' AND '.join(map(self._filter, parts)) or 'true'})"
        return f"({' OR '.join(map(self._filter, condition.of)) or 'false'})"

    def _is_by_start(self, text: Text) -> str:
        """Return an SQL expression that uses an index for an EXACT or STARTS_WITH comparison.

        If the characters in the index are enough for the comparison, the expression does not also compare the whole
        text. With both conditions, PostgreSQL would multiply their selectivities, and expect too few rows.
        """
        indexed, column = _start_column(text.field), f"s.{text_starts.COLUMNS[text.field]}"
        start = text_starts.start(text)
        if text.comparison is Comparison.EXACT:
            found, whole = f"{indexed} = {self._parameter(start)}", "{} = {}"
        else:
            found, whole = f"{indexed} >= {self._parameter(start)}", "starts_with({}, {})"
            end = text_starts.end(start)
            found += f" AND {indexed} < {self._parameter(end)}" if end is not None else ""
        if text_starts.is_whole(text):
            return found
        return f"{found} AND {whole.format(column, self._parameter(text.value))}"

    def _has_trigrams(self, field: Field, value: str) -> str:
        every = _trigrams(_TEXTS[field], value) if field in _TEXTS else []
        wanted = [*every[:-1:_STEP], *every[-1:]][:_TRIGRAMS_ASKED_FOR]
        return f"s.trigrams @> {self._parameter(wanted)}" if wanted else "true"

    def _parameter(self, value: Any) -> str:
        """Add a parameter to the statement, and return its placeholder."""
        self._parameters.append(value)
        kind = "::bigint[]" if isinstance(value, list) else "::text"
        return f"${len(self._parameters)}{kind}"


def _trigrams(number: int, text: str) -> list[int]:
    points = [ord(character) for character in text]
    first = number * _CHARACTERS
    return [
        ((first + one) * _CHARACTERS + two) * _CHARACTERS + three
        for one, two, three in zip(points, points[1:], points[2:], strict=False)
    ]


def _start_column(field: Field) -> str:
    column = text_starts.COLUMNS[field]
    return f"s.{column}" if field is Field.ID else f"left(s.{column}, {text_starts.LENGTH})"
