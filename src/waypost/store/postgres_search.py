"""A search condition as PostgreSQL runs it: one filter, exact to the letter, with what leads to an index beside it.

Which index drives a search is for PostgreSQL to decide, which knows how often each value is there. The order is
always that of the numbers that email addresses are given as they are created.
"""

from collections.abc import Sequence
from typing import Any

from waypost.domain.search import Comparison, Condition, Every, Field, Tagged, Text
from waypost.store import text_starts

_LETTERS = {Field.ADDRESS: "a", Field.DISPLAY_NAME: "n", Field.DESCRIPTION: "d"}
"""What comes before a trigram, so that it is known which text it is of."""

_TRIGRAMS_ASKED_FOR = 30
"""Trigrams of a value that the index is asked for; what they find is looked at anyway."""

Statement = tuple[str, list[Any]]
"""SQL with its parameters."""


def trigrams(texts: Sequence[str]) -> list[str]:
    """Every three characters that follow one another in the three texts of a search entry, once each."""
    found: set[str] = set()
    for letter, text in zip(_LETTERS.values(), texts, strict=True):
        found.update(_trigrams(letter, text))
    return sorted(found)


class Search:
    """A condition that is searched for in one instance."""

    def __init__(self, condition: Condition, instance_id: str) -> None:
        self._parameters: list[Any] = []
        self._where = f"s.instance_id = {self._parameter(instance_id)} AND {self._filter(condition)}"

    def page(self, *, after: str | None, limit: int) -> Statement:
        """Rows of an email address, its link (both as in `queries.postgres.sql`), and its number."""
        parameters = [*self._parameters, int(after) if after else 0, limit]
        place, count = len(parameters) - 1, len(parameters)
        return (
            "SELECT e.id, e.instance_id, e.account, e.address, e.address_key, e.display_name, e.description,"
            " e.created_at, e.modified_at, l.email_address_id, l.side, l.other_id, l.created_at, f.number"
            " FROM (SELECT s.email_address_id AS id, s.number FROM search_entries AS s"
            f" WHERE {self._where} AND s.number > ${place} ORDER BY s.number LIMIT ${count}) AS f"
            " JOIN email_addresses AS e ON e.id = f.id"
            " LEFT JOIN alias_link_ends AS l ON l.email_address_id = e.id ORDER BY f.number"
        ), parameters

    def count(self, *, up_to: int) -> Statement:
        """How many there are, counted no further than a limit."""
        parameters = [*self._parameters, up_to]
        return (
            "SELECT count(*) FROM (SELECT 1 FROM search_entries AS s"
            f" WHERE {self._where} LIMIT ${len(parameters)}) AS counted"
        ), parameters

    def _filter(self, condition: Condition) -> str:
        """A condition as an SQL expression on `search_entries AS s`; its parameters are kept."""
        match condition:
            case Text(field, Comparison.EXACT, value):
                return f"({self._starts_like(condition)} AND s.{text_starts.COLUMNS[field]} = {self._parameter(value)})"
            case Text(field, Comparison.STARTS_WITH, value):
                start = f"starts_with(s.{text_starts.COLUMNS[field]}, {self._parameter(value)})"
                return f"({self._is_in_range(condition)} AND {start})"
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

    def _starts_like(self, text: Text) -> str:
        return f"{_start_column(text.field)} = {self._parameter(text_starts.start(text))}"

    def _is_in_range(self, text: Text) -> str:
        column, start = _start_column(text.field), text_starts.start(text)
        lowest = f"{column} >= {self._parameter(start)}"
        end = text_starts.end(start)
        return lowest if end is None else f"{lowest} AND {column} < {self._parameter(end)}"

    def _has_trigrams(self, field: Field, value: str) -> str:
        wanted = _trigrams(_LETTERS[field], value)[:_TRIGRAMS_ASKED_FOR] if field in _LETTERS else []
        return f"s.trigrams @> {self._parameter(wanted)}" if wanted else "true"

    def _parameter(self, value: Any) -> str:
        """Keep a parameter; returns what stands for it."""
        self._parameters.append(value)
        kind = "::text[]" if isinstance(value, list) else "::text"
        return f"${len(self._parameters)}{kind}"


def _trigrams(letter: str, text: str) -> list[str]:
    length = text_starts.TRIGRAM
    return [letter + text[place : place + length] for place in range(len(text) - length + 1)]


def _start_column(field: Field) -> str:
    column = text_starts.COLUMNS[field]
    return f"s.{column}" if field is Field.ID else f"left(s.{column}, {text_starts.LENGTH})"
