"""Builds full-text queries and vectors for mail on PostgreSQL."""

from collections import defaultdict
from collections.abc import Sequence

from waypost.app.ports import MailEntry
from waypost.domain.mail.mail_search import Field, Phrase

_WEIGHTS = {Field.ANY: "", Field.FROM: "A", Field.TO: "B", Field.SUBJECT: "C"}

_LAST_POSITION = 16_383
"""The greatest position of a word that a tsvector can store."""

_POSITIONS = 255
"""The maximum number of positions that a tsvector can store for one word."""

_GAP = 2
"""The distance between the positions of two parts of a message, so that no phrase matches across them."""


def match(account: str, phrases: Sequence[Phrase]) -> str:
    """Return the tsquery for the messages of an account in which all phrases occur.

    Words consist of letters and digits, so they need no escaping inside quotation marks.
    """
    parts = [_account(account)]
    for phrase in phrases:
        weight = _WEIGHTS[phrase.field]
        *first, last = phrase.words
        suffix = ("*" if phrase.is_prefix else "") + weight
        words = [_word(word, weight) for word in first] + [_word(last, suffix)]
        parts.append(f"({' <-> '.join(words)})")
    return " & ".join(parts)


def vector(entry: MailEntry) -> str:
    """Return the tsvector of an entry, as text."""
    positions: dict[str, list[str]] = defaultdict(list)
    place = 1
    for text, weight in ((entry.sender, "A"), (entry.recipients, "B"), (entry.subject, "C"), (entry.body, "")):
        for word in text.split():
            if len(positions[word]) < _POSITIONS:
                positions[word].append(f"{min(place, _LAST_POSITION)}{weight}")
            place += 1
        place += _GAP
    found = [f"'{word}':{','.join(at)}" for word, at in positions.items()]
    return " ".join([_account(entry.account), *found])


def _account(account: str) -> str:
    """Return the word that stands for an account. The words of messages have no equals sign."""
    return f"'={account}'"


def _word(word: str, suffix: str) -> str:
    return f"'{word}':{suffix}" if suffix else f"'{word}'"
