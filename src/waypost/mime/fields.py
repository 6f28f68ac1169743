"""Read the header fields of a message or a part, and what they say about its content."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from waypost.domain.mail import charsets, encoded_words
from waypost.mime import cleaning

Octets = bytes | bytearray

BOUNDARY_LIMIT = 200
"""The maximum length of a boundary, in bytes. RFC 2046 section 5.1.1 allows 70, but some senders use more."""

FAR = 1024 * 1024
"""After a header that exceeds its limit, the empty line is searched for within this many bytes."""

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_FOLD = re.compile(rb"[\r\n]+")
_TYPE = re.compile(r"\s*([\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127})", re.ASCII)
_TOKEN = re.compile(r"\s*([\w!#$&^.+-]{1,127})", re.ASCII)
_PARAMETER = re.compile(r';\s*+([^\s=;"]{1,100}+)\s*+=\s*+(?:"((?:[^"\\]|\\.)*)"?|([^;]*+))', re.DOTALL)
"""A parameter: its name, and its value with or without quotes. The closing quote may be missing."""
_CHARSET = re.compile(r"[\s']*([\w.:+-]{1,75})", re.ASCII)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ENCODINGS = frozenset({"7bit", "8bit", "base64", "binary", "quoted-printable"})


class Fields(Struct, frozen=True):
    """The fields of a header, and what they say about the content."""

    lines: list[tuple[str, bytes]]
    """The name and the unfolded value of each field, in order."""
    content_type: str
    """The media type in lower case; `text/plain` if there is none (RFC 2045 section 5.2)."""
    parameters: Mapping[str, str]
    """The parameters of Content-Type, with names in lower case."""
    disposition: str | None
    """The disposition in lower case (RFC 2183)."""
    disposition_parameters: Mapping[str, str]
    encoding: str
    """The transfer encoding in lower case."""
    content_id: str | None
    problems: list[str]
    """What is wrong with the header. Each sentence lacks its subject."""

    @property
    def boundary(self) -> bytes:
        """The boundary of a multipart; empty if there is none, or if it is too long."""
        boundary = self.parameters.get("boundary", "").encode("utf-8", "replace").rstrip(b" \t\r\n")
        return boundary if len(boundary) <= BOUNDARY_LIMIT else b""

    @property
    def charset(self) -> str | None:
        """The charset of a text, in lower case."""
        found = _CHARSET.match(self.parameters.get("charset", ""))
        return found[1].lower() if found else None

    @property
    def filename(self) -> str | None:
        """A safe file name, from Content-Disposition or else from Content-Type."""
        for parameters, name in ((self.disposition_parameters, "filename"), (self.parameters, "name")):
            if safe := cleaning.filename(_extended(parameters, name)):
                return safe
        return None

    @property
    def is_encoded(self) -> bool:
        """Whether a transfer encoding has to be decoded."""
        return self.encoding in {"base64", "quoted-printable"}


def read(
    raw: Octets, at: int, *, octets: int, lines: int, is_delimiter: Callable[[bytes], bool]
) -> tuple[Fields, int, int]:
    """Read the header that begins at an offset, but at most `octets` bytes and `lines` lines.

    Return the fields, the offset of the content, and the offset at which the search for delimiters goes on. A header
    ends with an empty line, or before a line that is no field, or for which `is_delimiter` is true.
    """
    found: list[tuple[str, list[bytes]]] = []
    problems: list[str] = []
    start, limit = at, min(len(raw), at + octets)
    for _ in range(lines):
        if at >= limit:
            break
        newline = raw.find(b"\n", at, limit)
        end = newline + 1 if newline >= 0 else limit
        line = bytes(raw[at:end])
        if line in {b"\r\n", b"\n"}:
            return _fields(found, problems), end, end
        if line.startswith(b"--") and is_delimiter(line):
            return _fields(found, problems), at, at
        if line[0] in b" \t" and found:
            found[-1][1].append(line)
        elif name := _FIELD.match(line):
            found.append((name[1].decode("ascii"), [line[name.end() :]]))
        elif at > start or not line.startswith((b"From ", b">From ")):  # the first line of a file in mbox format
            if found:
                problems.append("has a header that ends without an empty line.")
            return _fields(found, problems), at, at
        at = end
    if at == len(raw):
        return _fields(found, problems), at, at
    problems.append("has a header that is too long, so its last fields are not shown.")
    return _fields(found, problems), _after_blank(raw, at), at


def _after_blank(raw: Octets, at: int) -> int:
    """Return the offset after the next empty line, or `at` if there is none nearby."""
    ends = [(raw.find(blank, at, at + FAR), len(blank)) for blank in (b"\n\r\n", b"\n\n")]
    return min((found + size for found, size in ends if found >= 0), default=at)


def _fields(found: list[tuple[str, list[bytes]]], problems: list[str]) -> Fields:
    lines = [(name, _FOLD.sub(b"", b"".join(pieces)).strip(b" \t")) for name, pieces in found]
    first: dict[str, bytes] = {}
    for name, value in lines:
        first.setdefault(name.lower(), value)

    def text(name: str) -> str:
        return _plain(first.get(name, b""))

    content_type = _TYPE.match(text("content-type"))
    if "content-type" in first and not content_type:
        problems.append("has a malformed Content-Type, so it is shown as text.")
    disposition = _TOKEN.match(text("content-disposition"))
    encoding = _TOKEN.match(text("content-transfer-encoding"))
    if encoding and encoding[1].lower() not in _ENCODINGS:
        problems.append("has an unknown transfer encoding, so it is not decoded.")
    return Fields(
        lines,
        content_type[1].lower() if content_type else "text/plain",
        _parameters(text("content-type")),
        disposition[1].lower() if disposition else None,
        _parameters(text("content-disposition")),
        encoding[1].lower() if encoding else "7bit",
        cleaning.one_line(text("content-id")).strip("<> ")[:998] or None,
        problems,
    )


def _plain(octets: bytes) -> str:
    """Decode a value, but not its encoded words, because what they contain is no syntax."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _parameters(value: str) -> dict[str, str]:
    """Return the parameters of a value. If a name occurs twice, the first one counts."""
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        parameters.setdefault(name.lower(), _QUOTED_PAIR.sub(r"\1", quoted) if quoted else plain.strip())
    return parameters


def _extended(parameters: Mapping[str, str], name: str) -> str:
    """Return the value of a parameter that may be in several pieces, or in another charset (RFC 2231).

    Many senders use encoded words instead, which RFC 2047 section 5 forbids, but all mail programs read.
    """
    if f"{name}*" in parameters:
        return _in_charset([(parameters[f"{name}*"], True)])
    pieces: list[tuple[str, bool]] = []
    while True:
        piece = f"{name}*{len(pieces)}"
        if f"{piece}*" in parameters:
            pieces.append((parameters[f"{piece}*"], True))
        elif piece in parameters:
            pieces.append((parameters[piece], False))
        else:
            break
    if pieces:
        return _in_charset(pieces)
    return encoded_words.decode(parameters.get(name, "").encode("utf-8", "replace"))


def _in_charset(pieces: list[tuple[str, bool]]) -> str:
    """Join pieces, each of which is percent-encoded or not. The first one begins with a charset and a language."""
    charset = ""
    first, is_encoded = pieces[0]
    if is_encoded and first.count("'") >= 2:
        charset, _, first = first.split("'", 2)
    octets = b"".join(
        unquote_to_bytes(piece) if is_encoded else piece.encode("utf-8", "replace")
        for piece, is_encoded in [(first, is_encoded), *pieces[1:]]
    )
    decoder = charsets.decoder(charset[:75]) if charset else None
    return decoder(octets) if decoder else _plain(octets)
