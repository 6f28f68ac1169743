"""The rows of the table of parsers, and the inputs that several rows share."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from waypost.domain.mail import messages
from waypost.smtp.protocol import data


class Where(StrEnum):
    """The place where a parser runs, and which it blocks."""

    TRANSACTION = "in a store transaction"
    LOOP = "on the event loop"
    CHECKS = "in the process of the checks"
    READING = "in the process that reads messages for people"


BOUNDS = {Where.TRANSACTION: 0.005, Where.LOOP: 0.050, Where.CHECKS: 0.050, Where.READING: 2.0}
"""The maximum time, in seconds, for one input, on an idle core of a current server."""

HEADER = messages.HEADER_LIMIT
LINES = data.HEADER_LINE_LIMIT
RECEIVED = 128 * 1024
"""The maximum number of unprocessed bytes of a client: the limit at which reading is paused, and one more read."""
HEAD = 64 * 1024
"""The maximum number of bytes of the head of an HTTP request."""
BODY = 256 * 1024
"""The maximum number of bytes of the body of an API call."""
ANSWER = 64 * 1024
"""The maximum number of bytes that are read of a webhook's response, or of a TXT record."""


@dataclass(frozen=True)
class Parser:
    """A row of the table: a parser, and an input that takes as much time as possible for its size."""

    name: str
    where: Where
    limit: int
    """The size of the largest input, in bytes or characters."""
    build: Callable[[int], Any]
    """Builds an input of a given size."""
    read: Callable[[Any], object]
    """Parses an input. It catches expected exceptions. If it is a generator, other tasks can run after each step."""


def rows(
    name: str, where: Where, limit: int, read: Callable[[Any], object], builds: dict[str, Callable[[int], Any]]
) -> list[Parser]:
    """Return a row for each input of a parser."""
    return [Parser(f"{name}: {what}", where, limit, build, read) for what, build in builds.items()]


def filled(unit: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    """Return a function that builds inputs from a repeated unit, between a beginning and an end."""

    def build(size: int) -> bytes:
        room = max(0, size - len(before) - len(after))
        return before + unit * (room // len(unit)) + after

    return build


def text(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    return lambda size: before + unit * (max(0, size - len(before) - len(after)) // len(unit)) + after


def refusing(read: Callable[[Any], object], *refusals: type[Exception]) -> Callable[[Any], object]:
    """Return the parser with the given exceptions caught, because they are expected results."""

    def reading(value: Any) -> object:
        try:
            return read(value)
        except refusals as error:
            return error

    return reading


# Header fields, each as large as the maximum size of a header

FOLDED = {
    "spaces": filled(b" ", b"%s: a", b"b\r\n"),
    "tabs in lines of 52": filled(b"\r\n" + b"\t" * 50, b"%s: a", b"b\r\n"),
    "open comments": filled(b"(", b"%s: a", b"\r\n"),
    "comments": filled(b"(a)", b"%s: a", b"\r\n"),
    "comments in comments": filled(b"(((a)))", b"%s: a", b"\r\n"),
    "open quotes": filled(b'"\\', b"%s: a", b"\r\n"),
    "angle brackets": filled(b"<", b"%s: ", b"\r\n"),
    "commas": filled(b",", b"%s: a@b.example", b"\r\n"),
    "semicolons": filled(b";", b"%s: a", b"\r\n"),
    "encoded words": filled(b"=?utf-8?q?=C3=BC?= ", b"%s: ", b"\r\n"),
    "beginnings of encoded words": filled(b"=?utf-8?q?", b"%s: ", b"\r\n"),
    "encoded words that cannot be decoded": filled(b"=?utf-8?b?A?= ", b"%s: ", b"\r\n"),
    "UTF-8": filled("\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode(), b"%s: ", b"\r\n"),
    "combining marks": filled("\u0315\u0300\u05ae\u0301".encode(), b"%s: a", b"\r\n"),
    "bare CRs": filled(b"\r", b"%s: ", b"\r\n"),
    "octets that are no text": filled(b"\xff\xfe", b"%s: ", b"\r\n"),
}
"""Contents of header fields, by name. `%s` is replaced with the name of the field."""


def field(name: bytes) -> dict[str, Callable[[int], bytes]]:
    """Return inputs with fields of this name for each content, as one long field and as many fields of a kilobyte.

    There are also inputs with empty or incomplete fields of this name.
    """

    def several(build: Callable[[int], bytes], size: int, each: int) -> bytes:
        return build(min(size, each)).replace(b"%s", name, 1) * max(1, size // each)

    found: dict[str, Callable[[int], bytes]] = {}
    for what, build in FOLDED.items():
        found[f"{name.decode()} of {what}"] = partial(several, build, each=10**9)
        found[f"{name.decode()}, many, of {what}"] = partial(several, build, each=1_030)
    return found | {
        f"{name.decode()} again and again": filled(name + b": a\r\n"),
        f"{name.decode()} without a colon": filled(name + b" " * 60 + b"\r\n"),
        f"{name.decode()} before a run of spaces": filled(b" ", name, b"\r\n"),
    }


def of_few_lines(builds: dict[str, Callable[[int], bytes]]) -> dict[str, Callable[[int], bytes]]:
    """Return the same inputs, cut to the maximum number of lines that the SMTP server accepts in a header."""

    def cut(build: Callable[[int], bytes], size: int) -> bytes:
        return b"\r\n".join(build(size).split(b"\r\n")[: LINES - 1]) + b"\r\n"

    return {what: partial(cut, build) for what, build in builds.items()}


PLAIN_HEADERS = {
    "short lines": filled(b"\r\n "),
    "fields of one letter": filled(b"a:\r\n"),
    "no fields": filled(b"a\r\n"),
    "one line": filled(b"a"),
}
