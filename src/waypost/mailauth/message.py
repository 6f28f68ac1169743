"""A message as the checks see it: its header fields, the domains in From, and its body in pieces."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from waypost.domain.mail.messages import HEADER_LIMIT
from waypost.domain.mailauth import from_header
from waypost.domain.mailauth.from_header import Authors, Naming

LINES_LIMIT = 5_000
"""Lines of a header that are read. SMTP refuses a header with more; but it takes a line that is no field for the end of
the header, and here the lines behind that count too, because some readers show them."""

_END = b"\r\n\r\n"
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+[ \t\r\n]*):")
_BARE_FROM = re.compile(rb"[\r\n]from[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.IGNORECASE)

Field = tuple[bytes, bytes]
"""A header field: its name, with the white space before the colon; and all that follows the colon, CRLF included.

Lines without a name are left out, unless there is a From after a bare CR or LF in them; then the name is empty.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A message in two."""

    fields: list[Field]
    body: list[memoryview]
    has_end: bool = True
    """Whether the header ends within `HEADER_LIMIT` octets and `LINES_LIMIT` lines, so that all its fields are here."""


def split(pieces: Sequence[bytes]) -> Message:
    """A message of these pieces. Lines of the header that are no fields are passed over."""
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
    """The values of all fields with this name, which is in lower case."""
    return [value for spelled, value in fields if spelled.rstrip().lower() == name]


def author_domains(message: Message) -> Authors:
    """The domains that From names, as `from_header` reads them.

    A From after a bare CR or LF counts too, because readers see it: a message with BODY=BINARYMIME may have one. Where
    the header does not end, From may name any domain, so it counts as one that names too many.
    """
    values = named(message.fields, b"from")
    for _, value in message.fields:
        values += _BARE_FROM.findall(value)
    found = from_header.read(value.decode("utf-8", "replace") for value in values)
    return found if message.has_end else Authors(Naming.TOO_MANY, found.domains)
