"""Indexes hold only the first characters of a text; this finds texts by them."""

from waypost.domain.directory.search import Field, Text

COLUMNS = {
    Field.ADDRESS: "address",
    Field.DISPLAY_NAME: "display_name",
    Field.DESCRIPTION: "description",
    Field.ID: "email_address_id",
}
"""The columns of `search_entries` that can be searched."""

LENGTH = 64
"""Characters of a text that its index holds; an id is shorter and indexed whole."""

TRIGRAM = 3
"""The length of the character groups in an index for CONTAINS."""

_LAST_CHARACTER = "\U0010ffff"
_FIRST_SURROGATE, _LAST_SURROGATE = "\ud800", "\udfff"


def start(text: Text) -> str:
    """The part of a searched value that an index can find."""
    return text.value if text.field is Field.ID else text.value[:LENGTH]


def is_whole(text: Text) -> bool:
    """Whether the index alone decides the comparison with this text."""
    return text.field is Field.ID or len(text.value) < LENGTH


def end(start: str) -> str | None:
    """The first text after all that start with `start`, in the order of code points; None if there is none."""
    kept = start.rstrip(_LAST_CHARACTER)
    if not kept:
        return None
    following = chr(ord(kept[-1]) + 1)
    if _FIRST_SURROGATE <= following <= _LAST_SURROGATE:  # no text has these
        following = chr(ord(_LAST_SURROGATE) + 1)
    return kept[:-1] + following
