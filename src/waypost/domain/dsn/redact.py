"""Make text from other servers safe to show: limit it to one line, and do not reveal the primary of an alias."""

import re

_TEXT_LIMIT = 500
"""The maximum length of text from another server, in characters. Longer text is truncated to this length."""

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Control characters, invisible characters, and characters that change the direction of the text after them."""

WITHHELD = "(the text of the server's reply is withheld)"


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Return untrusted text as one line of at most `limit` characters that is safe to show."""
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:limit]


def discreet(text: str, *, is_forwarded: bool) -> str:
    """Return the text of a peer's reply in a form that the sender may see.

    For a forwarded copy, the result is `WITHHELD`, because the receiving server knows the primary and may name it in
    ways that a program cannot detect ("Bob Smith's mailbox is full"). The sender still gets the reply code and the
    enhanced status code, which identify the kind of problem.
    """
    return WITHHELD if is_forwarded else one_line(text)
