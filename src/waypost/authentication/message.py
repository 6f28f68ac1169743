"""A message as the checks see it: its header fields, the domains in From, and its body in the pieces it came in."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from waypost.domain import authors

HEADER_LIMIT = 1024 * 1024
"""Octets of a header that are looked at."""

_END = b"\r\n\r\n"
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")

Field = tuple[bytes, bytes]
"""The name of a header field, and all that follows its colon, CRLF included."""


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
        if lines and (name := _FIELD.match(lines[0])):
            yield name[1], b"\r\n".join([lines[0][name.end() :], *lines[1:], b""])
        lines = [line]


def author_domains(fields: Sequence[Field]) -> tuple[str, ...]:
    """The domains of the addresses in From, as `domain.authors` reads them."""
    return authors.domains(value.decode("utf-8", "replace") for name, value in fields if name.lower() == b"from")
