"""A message as the checks see it: its header fields, the domains in From, and its body in the pieces it came in."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import idna

HEADER_LIMIT = 1024 * 1024
"""Octets of a header that are looked at."""

_END = b"\r\n\r\n"
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
_SEGMENT = re.compile(r"(?:<[^>]*>?|[^,;<])+")
_OLD_SPACE = re.compile(r"\s*([.@])\s*")
_ANGLE = re.compile(r"<([^<>]*)")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")

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
    """The domains of the addresses in From, as A-labels; each once, but once for each From field.

    A mailbox without a domain that could be one counts as another domain, unless there is nothing else.
    """
    found: list[str] = []
    for name, value in fields:
        if name.lower() == b"from":
            found += dict.fromkeys(_domains(value.decode("utf-8", "replace")))
    return tuple(found) if any(found) else ()


def _domains(value: str) -> Iterator[str]:
    for segment in _SEGMENT.findall(_without_quotes(value)):
        angles = _ANGLE.findall(segment)
        # What is no list of addresses may be read by others as they like, so another domain may be meant.
        outside = _ANGLE.sub("", segment) if angles else _one_word(segment).replace("@", "", 1)
        if "@" in outside or "\\" in segment or (not angles and " " in outside):
            yield ""
        for address in angles or [segment]:
            if "@" in address:
                yield _a_labels("".join(address.rpartition("@")[2].split()))
            elif address.strip():
                yield ""


def _one_word(address: str) -> str:
    """An address without the name of a group before it, and without the spaces that an old address may have."""
    return _OLD_SPACE.sub(r"\1", address.rpartition(":")[2]).strip()


def _without_quotes(value: str) -> str:
    """An address list without its comments, and with nothing in its quoted strings."""
    kept: list[str] = []
    depth, quoted, characters = 0, False, iter(value)
    for character in characters:
        if character == "\\" and (depth or quoted):
            next(characters, "")
        elif depth:
            depth += {"(": 1, ")": -1}.get(character, 0)
        elif character == '"':
            quoted = not quoted
            kept.append("_")
        elif character == "(" and not quoted:
            depth = 1
        elif not quoted:
            kept.append(character)
    return "".join(kept)


def _a_labels(domain: str) -> str:
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain[:253], uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""
    ascii_domain = ascii_domain.rstrip(".").lower()
    return ascii_domain if _DOMAIN.match(ascii_domain) else ""
