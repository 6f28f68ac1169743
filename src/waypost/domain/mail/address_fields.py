"""The address fields of a message as people read them, for a search."""

import re

from waypost.domain.mail import encoded_words

FIELD_LIMIT = 4_096
"""The maximum number of bytes that are read from each field."""

_FIELD = re.compile(rb"\r\n(from|to|cc)[ \t]*:", re.IGNORECASE)
_END = re.compile(rb"\r\n(?![ \t])")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


def read(header: bytes) -> tuple[str, str]:
    """Return the text of the field `From` of a header, and of its fields `To` and `Cc`. Each line ends in CRLF."""
    header = b"\r\n" + header
    authors: list[str] = []
    recipients: list[str] = []
    for found in _FIELD.finditer(header):
        beginning = header[found.end() : found.end() + FIELD_LIMIT]
        value = encoded_words.decode(_FOLD.sub(b"", _END.split(beginning, maxsplit=1)[0]).strip())
        (authors if found[1].lower() == b"from" else recipients).append(value)
        if len(authors) + len(recipients) == _FIELDS:
            break
    return " ".join(authors), " ".join(recipients)


_FIELDS = 10
"""The maximum number of fields that are read. RFC 5322 section 3.6 allows one of each."""
