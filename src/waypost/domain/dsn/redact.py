"""Texts of other servers, made safe to show: kept to one line, and without the primary of an alias."""

import re

_TEXT_LIMIT = 500
"""Characters that are kept of a text of others."""

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Controls, what cannot be seen, and what turns the direction of the text behind it."""

WITHHELD = "(what its server said is not passed on)"


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """A text of others as one line that is safe to show."""
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:limit]


def discreet(text: str, *, is_forwarded: bool) -> str:
    """What a peer replied, as the sender may see it.

    Nothing for a forwarded copy: its server knows the primary, and can name it in more ways than a program can find
    ("Bob Smith's mailbox is full"). The code and the status tell the sender enough.
    """
    return WITHHELD if is_forwarded else one_line(text)
