"""Builds the SQL for a search on SQLite: the driver, the filter, and the order.

One conjunct of the search condition becomes the driver. The search finds rows through an index for this conjunct, and
returns them in the order of the index. Therefore, the cost of reading a page does not depend on how many email
addresses match. The other conjuncts become the filter. The driver depends only on the condition, so all pages of a
search have the same order.

    driver                               order            index
    a text equals a value                number           search_entries_by_…
    a tag has a value                    number           tags_by_value
    a text starts with a value           text, number     search_entries_by_…
    a text contains 3 characters or more number           search_texts (trigrams)
    any other condition                  number           the primary key

The email addresses of each instance have their own range of numbers, so a search never reads rows of other instances.
"""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory import search
from waypost.domain.directory.search import Comparison, Condition, Every, Field, Tagged, Text
from waypost.store.common import text_starts
from waypost.store.sql import tables

_PHRASE = 32
"""A search looks up at most this many characters of a value in the trigram index. The limit saves memory, because each
trigram takes memory during the search."""

_LONGEST_MATCH = 1_000
"""The maximum length of a trigram query, in characters. If the query would be longer, the search reads all entries
instead, because that is faster."""

_NOT_DISTINGUISHED = frozenset("\ufffd\ufffe\uffff")
"""The characters that the trigram index cannot tell apart."""

SAMPLE = 200_000
"""If a search may read far more entries than match, it counts the matches among at most this many entries. The search
then extrapolates the total number of matches from this count."""

_ENTRIES = "search_entries AS s"


class _Driver(Struct, frozen=True, kw_only=True):
    """The driver of a search: the source of its rows, which determines their order. The driver consists of parts of an
    SQL statement, and their parameters.
    """

    source: str
    join: str = ""
    """The JOIN that finds the search entry for a row of the source, or an empty string if the rows themselves are
    search entries."""
    where: str = "1"
    parameters: tuple[Any, ...] = ()
    number: str = "s.number"
    """The column that contains the number of the email address."""
    text: str | None = None
    """The column by which the rows are ordered first, before the number. None if the rows are ordered only by
    number."""
    start: str = ""
    """An inclusive lower bound for the values in the column that `text` names. The bound itself need not occur in any
    row."""
    is_walk: bool = False
    """Whether the search may read far more rows than it finds."""
    ensures: Condition | None = None
    """A conjunct that every row of this source is known to match, so that the filter need not check it. None if there
    is no such conjunct."""

    @property
    def order(self) -> str:
        """The columns by which the rows are ordered, as SQL."""
        return f"{self.text}, {self.number}" if self.text else self.number

    def after(self, text: str, number: int) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the SQL conditions for the rows after a cursor: each of these rows matches exactly one condition. The
        conditions are separate, so that each can use an index.
        """
        if self.text is None:
            return [(f"{self.number} > ?", (number,))]
        return [(f"{self.text} = ? AND {self.number} > ?", (text, number)), (f"{self.text} > ?", (text,))]


Statement = tuple[str, tuple[Any, ...]]
"""An SQL statement and its parameters."""


_COLUMNS = f"{tables.columns('email_addresses', 'e')}, {tables.columns('alias_link_ends', 'l')}"


class Search:
    """A search for email addresses in one instance. The email addresses of each instance are numbered in a separate
    range.
    """

    def __init__(self, condition: Condition, number: int) -> None:
        self._lowest, self._highest = number << 32, (number + 1) << 32
        conjuncts = search.conjuncts(condition)
        self._driver = _driver(condition, conjuncts, number)
        self._rest = Every(tuple(part for part in conjuncts if part != self._driver.ensures))
        self._filter, self._filtered_by = _filter(self._rest)

    def page(self, *, after: str | None, limit: int) -> Statement:
        """Return the statement that reads one page of results.

        Each row contains an email address, its alias link, and the two columns of the row's cursor: a text and a
        number. Raises `errors.Invalid` for a cursor of another store.
        """
        driver = self._driver
        cursor = json.loads(after) if after else (driver.start, self._lowest)
        if isinstance(cursor, int):
            raise errors.Invalid(text_starts.OTHER_CURSOR)
        text, number = cursor
        spans, parameters = [], list[Any]()
        for is_after, place in driver.after(text, number):
            spans.append(
                f"SELECT * FROM (SELECT s.email_address_id AS id, {driver.text or 'NULL'} AS text,"
                f" {driver.number} AS number"
                f" FROM {driver.source}{driver.join} {self._where} AND {is_after} ORDER BY {driver.order} LIMIT ?)"
            )
            parameters += [*self._parameters(self._highest), *place, limit]
        found = " UNION ALL ".join(spans)
        return (
            f"SELECT {_COLUMNS}, f.text, f.number"
            f" FROM ({found}) AS f CROSS JOIN email_addresses AS e ON e.id = f.id"
            " LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id ORDER BY f.text, f.number LIMIT ?"
        ), (*parameters, limit)

    def count(self, *, up_to: int) -> Statement:
        """Return the statement that counts the matches, up to a limit.

        If the search may read many rows, the statement counts matches only among the email addresses with the first
        `SAMPLE` numbers of the instance. The statement returns one row with three columns: the count, the highest
        number of an email address in the instance, and the number directly below the instance's range.
        """
        driver, lowest, highest = self._driver, self._lowest, self._highest
        join = driver.join if self._rest.of else ""
        start, started_by = (f" AND {driver.text} >= ?", [driver.start]) if driver.text else ("", [])
        end = lowest + SAMPLE + 1 if driver.is_walk else highest
        return (
            f"SELECT (SELECT count(*) FROM (SELECT 1 FROM {driver.source}{join} {self._where}"
            f" AND {driver.number} > ?{start} LIMIT ?)),"
            " (SELECT coalesce(max(number), ?) FROM search_entries WHERE number > ? AND number < ?), ?"
        ), (*self._parameters(end), lowest, *started_by, up_to, lowest, lowest, highest, lowest)

    def total(self, counted: Sequence[int], *, found: int, up_to: int) -> int:
        """Return the number of matches, given the row that the `count` statement returned.

        The result is extrapolated if the statement counted the matches only in a sample. `found` is the number of
        matches that the page query returned. The result is never less than `found`.
        """
        count, highest, below = counted
        if self._driver.is_walk and highest - below > SAMPLE:
            count = count * (highest - below) // SAMPLE
        return max(found, min(count, up_to))

    def place_of(self, row: Sequence[Any]) -> str:
        """Return the cursor of a row. To read the rows after this row, pass the cursor to `page` as the argument
        `after`.
        """
        return json.dumps(row[-2:])

    @property
    def _where(self) -> str:
        return f"WHERE {self._driver.where} AND {self._driver.number} < ? AND {self._filter}"

    def _parameters(self, end: int) -> list[Any]:
        """Return the SQL parameters for the WHERE clause. Only entries with numbers less than `end` match."""
        return [*self._driver.parameters, end, *self._filtered_by]


def _driver(condition: Condition, conjuncts: Sequence[Condition], number: int) -> _Driver:
    """Choose the driver of a search: the conjunct whose kind of comparison is likely to match the fewest rows."""
    for drive in (_by_exact_text, _by_tag, _by_start, _by_trigrams):
        for conjunct in (condition, *conjuncts):
            driver = drive(conjunct, number)
            if driver:
                return driver
    return _Driver(source=_ENTRIES, is_walk=bool(conjuncts))


def _by_exact_text(condition: Condition, number: int) -> _Driver | None:
    if not isinstance(condition, Text) or condition.comparison is not Comparison.EXACT:
        return None
    return _Driver(
        source=_ENTRIES,
        where=f"s.range = ? AND {_start_column(condition.field)} = ?",
        parameters=(number, text_starts.start(condition)),
        ensures=condition if text_starts.is_whole(condition) else None,
    )


def _by_tag(condition: Condition, _: int) -> _Driver | None:
    if not isinstance(condition, Tagged) or condition.value is None:
        return None
    return _Driver(
        source="tags AS d",
        join=" CROSS JOIN search_entries AS s ON s.number = d.number",
        where="d.key = ? AND d.value = ?",
        parameters=(condition.key, condition.value),
        number="d.number",
        ensures=condition,
    )


def _by_start(condition: Condition, number: int) -> _Driver | None:
    if not isinstance(condition, Text) or condition.comparison is not Comparison.STARTS_WITH:
        return None
    column, start = _start_column(condition.field), text_starts.start(condition)
    end = text_starts.end(start)
    return _Driver(
        source=_ENTRIES,
        where="s.range = ?" if end is None else f"s.range = ? AND {column} < ?",
        parameters=(number,) if end is None else (number, end),
        text=column,
        start=start,
        ensures=condition if text_starts.is_whole(condition) else None,
    )


def _by_trigrams(condition: Condition, _: int) -> _Driver | None:
    match = _trigrams(condition)
    if match is None or len(match) > _LONGEST_MATCH:
        return None
    return _Driver(
        source="search_texts AS d",
        join=" CROSS JOIN search_entries AS s ON s.number = d.rowid",
        where="d.search_texts MATCH ?",
        parameters=(match,),
        number="d.rowid",
        is_walk=True,
        ensures=condition if _is_decided_by_trigrams(condition) else None,
    )


def _is_decided_by_trigrams(condition: Condition) -> bool:
    return (
        isinstance(condition, Text)
        and condition.comparison is Comparison.CONTAINS
        and len(condition.value) <= _PHRASE
        and not _NOT_DISTINGUISHED.intersection(condition.value)
    )


def _trigrams(condition: Condition) -> str | None:
    """Return the full-text query that matches every entry for which the condition is true.

    Return None if the trigram index cannot help with this condition.
    """
    match condition:
        case Text(Field.ID) | Tagged():
            return None
        case Text(field, _, value):
            if len(value) < text_starts.TRIGRAM:
                return None
            return f"{text_starts.COLUMNS[field]} : {_quoted(value[:_PHRASE])}"
        case Every(parts):
            known = [match for part in parts if (match := _trigrams(part))]
            return _joined(" AND ", known) if known else None
    matches = [_trigrams(part) for part in condition.of]
    return _joined(" OR ", [match for match in matches if match]) if matches and all(matches) else None


def _filter(condition: Condition) -> tuple[str, tuple[Any, ...]]:
    """Return a condition as an exact SQL expression on `search_entries AS s`, and its parameters."""
    match condition:
        case Text(field, Comparison.EXACT, value):
            return f"s.{text_starts.COLUMNS[field]} = ?", (value,)
        case Text(field, Comparison.STARTS_WITH, value):
            return f"substr(s.{text_starts.COLUMNS[field]}, 1, ?) = ?", (len(value), value)
        case Text(field, _, value):
            return f"instr(s.{text_starts.COLUMNS[field]}, ?) > 0", (value,)
        case Tagged(key, None):
            return f"EXISTS ({_TAG})", (key,)
        case Tagged(key, value):
            return f"EXISTS ({_TAG} AND t.value = ?)", (key, value)
        case Every(parts):
            return _combined(" AND ", parts, when_empty="1")
    return _combined(" OR ", condition.of, when_empty="0")


_TAG = "SELECT 1 FROM tags AS t WHERE t.resource_id = s.email_address_id AND t.key = ?"


def _combined(operator: str, parts: Sequence[Condition], *, when_empty: str) -> tuple[str, tuple[Any, ...]]:
    if not parts:
        return when_empty, ()
    filters = [_filter(part) for part in parts]
    parameters = itertools.chain.from_iterable(parameters for _, parameters in filters)
    return _joined(operator, [sql for sql, _ in filters]), tuple(parameters)


def _joined(operator: str, parts: Sequence[str]) -> str:
    return f"({operator.join(parts)})"


def _quoted(text: str) -> str:
    """Quote a text as a phrase in the FTS5 query language."""
    return '"' + text.replace('"', '""') + '"'


def _start_column(field: Field) -> str:
    return f"s.{text_starts.COLUMNS[field]}" if field is Field.ID else f"s.{text_starts.COLUMNS[field]}_start"
