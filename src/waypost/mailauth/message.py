"""Split a message into header fields and a body for the checks, and find the domains in From."""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from waypost.domain.mail.messages import HEADER_LIMIT
from waypost.domain.mailauth import from_header
from waypost.domain.mailauth.from_header import Authors, Naming

LINES_LIMIT = 5_000
"""The maximum number of header lines to read.

The SMTP server refuses a header with more lines, but counts only the lines before the first line that is not a field.
This module also reads the lines after the first line that is not a field, because some mail readers show these lines.
"""

_END = b"\r\n\r\n"
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+[ \t\r\n]*):")
_BARE_FROM = re.compile(rb"[\r\n]from[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.IGNORECASE)

Field = tuple[bytes, bytes]
"""A header field: its name, including the white space before the colon, and everything after the colon, including the
final CRLF.

Lines without a name are omitted, except for lines that contain a From field after a bare CR or LF. For such a line, the
name in the tuple is an empty string.
"""


class Message(Struct, frozen=True):
    """A message that is split into its header fields and its body."""

    fields: list[Field]
    body: list[memoryview]
    has_end: bool = True
    """Whether the header is within `HEADER_LIMIT` bytes and `LINES_LIMIT` lines, so that `fields` is complete."""


def split(pieces: Sequence[bytes]) -> Message:
    """Split a message that is given in pieces. Header lines that are not fields are ignored, unless they contain a From
    field after a bare CR or LF.
    """
    start, count = b"", 0
    for piece in pieces:
        if _END in start or len(start) > HEADER_LIMIT:
            break
        start += piece
        count += 1
    header, _, body = (b"", b"", start[2:]) if start.startswith(b"\r\n") else start.partition(_END)
    rest = [memoryview(body), *(memoryview(piece) for piece in pieces[count:])]
    lines = header[:HEADER_LIMIT].split(b"\r\n", LINES_LIMIT)
    has_end = len(header) <= HEADER_LIMIT and len(lines) <= LINES_LIMIT
    return Message(list(_fields(lines[:LINES_LIMIT])), [piece for piece in rest if piece], has_end)


def _fields(all_lines: list[bytes]) -> Iterator[Field]:
    lines: list[bytes] = []
    for line in [*all_lines, b""]:
        if lines and line[:1] in {b" ", b"\t"}:
            lines.append(line)
            continue
        field = b"\r\n".join([*lines, b""])
        if name := _FIELD.match(field):
            yield name[1], field[name.end() :]
        elif _BARE_FROM.search(field):
            yield b"", field
        lines = [line]


def named(fields: Sequence[Field], name: bytes) -> list[bytes]:
    """Return the values of all fields that have a given name. `name` must be in lower case."""
    return [value for spelled, value in fields if spelled.rstrip().lower() == name]


def author_domains(message: Message) -> Authors:
    """Return the domains of the authors in From, as found by `from_header.read`.

    The result includes domains in a From field that follows a bare CR or LF, because mail readers show such a field,
    and a message with BODY=BINARYMIME may contain one. If the header exceeds a limit, the result is `Naming.TOO_MANY`,
    because the part that was not read may name any domain.
    """
    values = named(message.fields, b"from")
    for _, value in message.fields:
        values += _BARE_FROM.findall(value)
    found = from_header.read(value.decode("utf-8", "replace") for value in values)
    return found if message.has_end else Authors(Naming.TOO_MANY, found.domains)
