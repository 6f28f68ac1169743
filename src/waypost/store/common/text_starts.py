"""Helper functions for finding a text through an index that contains only the first characters of each text."""

from waypost.domain.directory.search import Field, Text

COLUMNS = {
    Field.ADDRESS: "address",
    Field.DISPLAY_NAME: "display_name",
    Field.DESCRIPTION: "description",
    Field.ID: "email_address_id",
}
"""The columns of `search_entries` that a search can use, by field."""

LENGTH = 64
"""How many characters from the start of each text the index contains. Ids have fewer characters, so the index contains
each id in full."""

TRIGRAM = 3
"""The length, in characters, of the substrings in the index for CONTAINS comparisons."""

OTHER_CURSOR = (
    "NextToken was returned by a server with another database. Leave NextToken out to begin at the first page."
)
"""The message for a cursor of the other store, which a client may still have after the data was copied."""

_LAST_CHARACTER = "\U0010ffff"
_FIRST_SURROGATE, _LAST_SURROGATE = "\ud800", "\udfff"


def start(text: Text) -> str:
    """Return the part of a search value that can be looked up in the index: the whole value for an id, and otherwise
    its first `LENGTH` characters.
    """
    return text.value if text.field is Field.ID else text.value[:LENGTH]


def is_whole(text: Text) -> bool:
    """Return whether the characters in the index are enough for a comparison with this text."""
    return text.field is Field.ID or len(text.value) < LENGTH


def end(start: str) -> str | None:
    """Return the first string that sorts after all strings that begin with `start`, in code point order.

    Return None if there is no such string.
    """
    kept = start.rstrip(_LAST_CHARACTER)
    if not kept:
        return None
    following = chr(ord(kept[-1]) + 1)
    if _FIRST_SURROGATE <= following <= _LAST_SURROGATE:  # no stored text contains surrogates
        following = chr(ord(_LAST_SURROGATE) + 1)
    return kept[:-1] + following
