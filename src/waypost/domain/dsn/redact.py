"""The words of others, as people may read them: kept to a line, and without who is behind an alias."""

import re

_TEXT_LIMIT = 500
"""Characters of what others say, as we give them."""

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Controls, what cannot be seen, and what turns the direction of the text behind it."""

WITHHELD = "(what its server said is not passed on)"


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """What others wrote, as one line that does no harm."""
    return " ".join(_NOT_TEXT.sub(" ", text).split())[:limit]


def discreet(text: str, *, is_forwarded: bool) -> str:
    """What a peer said, as the sender may know it.

    Of a copy that was forwarded nothing: its server knows the primary, and can name it in more ways than can be looked
    for ("Bob Smith's mailbox is full"). The code and the status say what the sender has to know.
    """
    return WITHHELD if is_forwarded else one_line(text)
