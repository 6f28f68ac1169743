"""A message as the checks see it: its header fields, the domains in From, and its body in the pieces it came in."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from waypost.domain import authors
from waypost.domain.authors import Authors

HEADER_LIMIT = 1024 * 1024
"""Octets of a header that are looked at."""

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
    return Message(list(_fields(header[:HEADER_LIMIT])), [piece for piece in rest if piece])


def _fields(header: bytes) -> Iterator[Field]:
    lines: list[bytes] = []
    for line in [*header.split(b"\r\n"), b""]:
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
    """The values of all fields of a name, given in lower case."""
    return [value for spelled, value in fields if spelled.rstrip().lower() == name]


def author_domains(fields: Sequence[Field]) -> Authors:
    """The domains that From names, as `domain.authors` reads them.

    A From after a bare CR or LF counts too, because readers see it: a message with BODY=BINARYMIME may have one.
    """
    values = named(fields, b"from")
    for _, value in fields:
        values += _BARE_FROM.findall(value)
    return authors.read(value.decode("utf-8", "replace") for value in values)
