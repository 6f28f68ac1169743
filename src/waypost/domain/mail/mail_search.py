"""The query language of the search for mail.

A query consists of words, of phrases in quotation marks, and of operators:

    invoice "second reminder"     both in the sender, a recipient, the subject or the text
    invoic*                       a word that begins like this
    from:ann  to:support  subject:"your order"
    id:ID                         the id of a message, or its Message-ID
    after:2026-11-01  before:2026-11-08T12:00:00Z
    is:direct  is:forwarded  is:notice  is:returned  is:waiting  is:dead  is:refused

A message must match all parts of the query.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain import errors
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.mail_filter import ALL_MAIL, MailFilter
from waypost.domain.mail.mail_words import words

QUERY_LIMIT = 1_000
"""The maximum length of a query, in characters."""

TERMS_LIMIT = 20
"""The maximum number of words, phrases and operators in a query."""


class Field(StrEnum):
    """The part of a message in which a search looks for words."""

    ANY = "any"
    FROM = "from"
    TO = "to"
    SUBJECT = "subject"


class Phrase(Struct, frozen=True):
    """Words that follow one another in a part of a message."""

    field: Field
    words: tuple[str, ...]
    is_prefix: bool = False
    """Whether the last word is only the beginning of a word."""


class Query(Struct, frozen=True, kw_only=True):
    """What a search looks for."""

    phrases: tuple[Phrase, ...] = ()
    filters: MailFilter = ALL_MAIL
    id: str = ""
    """The id of a message, or its Message-ID; empty if the search is not for an id."""
    is_refused: bool = False
    """Whether the search is for refusals instead of messages."""


_TERM = re.compile(r'\s*(?:(?P<operator>[A-Za-z]+):(?!//))?(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]*))(?P<star>\*?)')
_FIELDS = {"from": Field.FROM, "to": Field.TO, "subject": Field.SUBJECT}
_REASONS = {reason.value: reason for reason in Reason}
_STATUSES: Mapping[str, Literal[Status.QUEUED, Status.DEAD]] = {"waiting": Status.QUEUED, "dead": Status.DEAD}
_KINDS = (*_STATUSES, *_REASONS, "refused")
_EXAMPLES = {
    "from": "from:ann@example.com",
    "to": "to:support@example.com",
    "subject": 'subject:"your order"',
    "id": "id:0190f3c1-7a5b-7c3d-8e2f-1a2b3c4d5e6f",
    "before": "before:2026-11-08",
    "after": "after:2026-11-01",
    "is": "is:dead",
}


def parse(text: str) -> Query:
    """Parse a query. Raises `errors.Invalid`; the message names the operator that is wrong."""
    if len(text) > QUERY_LIMIT:
        raise errors.Invalid(f"A query must have at most {QUERY_LIMIT:,} characters.")
    query = Query()
    for count, (operator, value, is_prefix) in enumerate(_terms(text), 1):
        if count > TERMS_LIMIT:
            raise errors.Invalid(f"A query must have at most {TERMS_LIMIT} words, phrases and operators.")
        query = _with(query, operator, value, is_prefix=is_prefix)
    if query == Query():
        raise errors.Invalid("The query is empty. Give words, or an operator such as from:ann@example.com.")
    if query.is_refused:
        _refuse_what_refusals_lack(query)
    return query


def _terms(text: str) -> Iterable[tuple[str, str, bool]]:
    """Yield the operator, which can be empty, and the value of each part of a query, and whether a star follows it."""
    place = 0
    while place < len(text.rstrip()):
        found = _TERM.match(text, place)
        if found is None or found.end() == place or text[found.end() : found.end() + 1] == '"':
            raise errors.Invalid("A quotation mark in the query is not closed.")
        place = found.end()
        operator, quoted, plain = (found["operator"] or "").lower(), found["quoted"], found["plain"] or ""
        if operator and operator not in _EXAMPLES:
            raise errors.Invalid(
                f"{operator}: is not an operator. The operators are {', '.join(f'{one}:' for one in _EXAMPLES)}. "
                "To search for a text with a colon, put it in quotation marks."
            )
        is_prefix = bool(found["star"]) or plain.endswith("*")
        value = quoted if quoted is not None else plain.rstrip("*")
        if operator and not value.strip(" <>"):
            raise errors.Invalid(f"{operator}: needs a value, such as {_EXAMPLES[operator]}.")
        yield operator, value, is_prefix


def _with(query: Query, operator: str, value: str, *, is_prefix: bool) -> Query:
    """Return a query with one more part."""
    match operator:
        case "id":
            if query.id:
                raise errors.Invalid("id: can occur only once in a query.")
            return replace(query, id=value.strip("<>"))
        case "after":
            return replace(query, filters=replace(query.filters, since=_moment(operator, value)))
        case "before":
            return replace(query, filters=replace(query.filters, before=_moment(operator, value)))
        case "is":
            return _with_kind(query, value.lower())
    found = tuple(words(value))
    if not found:
        raise errors.Invalid(f"{operator + ':' if operator else ''}{value!r} has no letter or digit to search for.")
    return replace(query, phrases=(*query.phrases, Phrase(_FIELDS.get(operator, Field.ANY), found, is_prefix)))


def _with_kind(query: Query, kind: str) -> Query:
    filters = query.filters
    if kind == "refused":
        return replace(query, is_refused=True)
    if kind in _REASONS and filters.reason in (None, _REASONS[kind]):
        return replace(query, filters=replace(filters, reason=_REASONS[kind]))
    if kind in _STATUSES and filters.status in (None, _STATUSES[kind]):
        return replace(query, filters=replace(filters, status=_STATUSES[kind]))
    if kind in _KINDS:
        raise errors.Invalid(f"is:{kind} contradicts another is: in the query.")
    raise errors.Invalid(f"is: must be {', '.join(_KINDS)}, not {kind!r}.")


def _moment(operator: str, value: str) -> datetime:
    """Return the time in the value of an operator. A date without a time means midnight, and a time without a time zone
    is in UTC.
    """
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise errors.Invalid(
            f"{operator}: must be a date or a time, such as {_EXAMPLES[operator]}, not {value!r}."
        ) from None


def _refuse_what_refusals_lack(query: Query) -> None:
    """Raise `errors.Invalid` if a search for refusals has an operator that applies only to messages."""
    if query.filters.reason or query.filters.status:
        raise errors.Invalid("is:refused cannot be combined with another is:, because the server kept no message.")
    for name, is_used in (
        ("subject", any(phrase.field is Field.SUBJECT for phrase in query.phrases)),
        ("id", bool(query.id)),
    ):
        if is_used:
            raise errors.Invalid(f"{name}: cannot be combined with is:refused, because the server kept no message.")


def is_match(phrase: Phrase, texts: Mapping[Field, str]) -> bool:
    """Return whether a phrase occurs in one of the texts, of which `Field.ANY` is in addition to the others."""
    wanted = texts.values() if phrase.field is Field.ANY else [texts[phrase.field]]
    return any(_occurs(phrase, words(text)) for text in wanted)


def _occurs(phrase: Phrase, found: list[str]) -> bool:
    *first, last = phrase.words
    count = len(phrase.words)
    for place in range(len(found) - count + 1):
        end = found[place + count - 1]
        if found[place : place + count - 1] == first and (end.startswith(last) if phrase.is_prefix else end == last):
            return True
    return False
