"""Builds full-text queries for mail on SQLite (FTS5)."""

from collections.abc import Sequence

from waypost.domain.mail.mail_search import Field, Phrase

_COLUMNS = {
    Field.ANY: "sender recipients subject body",
    Field.FROM: "sender",
    Field.TO: "recipients",
    Field.SUBJECT: "subject",
}


def match(account: str, phrases: Sequence[Phrase]) -> str:
    """Return the FTS5 query for the messages of an account in which all phrases occur.

    Words consist of letters and digits, so they need no escaping inside quotation marks.
    """
    parts = [f'{{account}} : "{account}"']
    for phrase in phrases:
        star = " *" if phrase.is_prefix else ""
        parts.append(f'{{{_COLUMNS[phrase.field]}}} : "{" ".join(phrase.words)}"{star}')
    return " AND ".join(parts)
