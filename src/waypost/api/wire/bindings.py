"""Parses the members in a request's path, query and headers, and writes the members in a response's headers."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from waypost.api.wire import texts
from waypost.api.wire.http import OCTETS, Request

Shape = Mapping[str, Any]

_ITEM = re.compile(r'[,\s]*(?:"((?:[^"\\]|\\.)*)"|([^,\s][^,]*))')
_COMMA_BETWEEN_MOMENTS = re.compile(r"(?<![A-Z][a-z]{2}),\s*")
_NEEDS_QUOTES = re.compile(r'[",]')


class Repeated(ValueError):
    """Raised if a query parameter occurs several times although it may occur only once."""


class Member(Struct, frozen=True):
    """A member of an operation's input or output: its name in the model, and its location in a request or response."""

    name: str
    location: str
    """The part of the request or response that carries the member.

    The location is one of `body`, `payload` (the member is the whole body), `uri`, `querystring`, `header`, `headers`
    (all headers with a prefix) and `statusCode`.
    """
    wire_name: str
    shape_name: str
    shape: Shape
    item: Shape | None
    """The shape of the elements if the member is a list, or of the values if the member is a map; otherwise None."""
    is_text: bool
    packed: bool
    """Whether the member is JSON that is Base64-encoded in a header."""

    @property
    def path(self) -> str:
        """The member's name as it appears in error messages."""
        return self.name[0].lower() + self.name[1:]


def from_label(member: Member, label: str) -> Any:
    """Decode and parse the value of a path label. Raises `ValueError` if the label cannot be decoded."""
    text = decoded(label)
    return text if member.is_text else texts.read(member.shape, text, texts.ISO_8601)


def from_query(member: Member, query: Mapping[str, list[str]]) -> Any:
    """Decode and parse the value of a query parameter; return None if the query lacks it.

    Raises `Repeated` if a parameter that takes a single value occurs several times. If several values were allowed, the
    server could not know which value is meant, because the signature does not protect the order of parameters. Raises
    `ValueError` if a value cannot be decoded.
    """
    if member.item and member.shape["type"] == "map":
        one_each = member.item["type"] != "list"
        return {name: _of_parameter(member.item, values[:1] if one_each else values) for name, values in query.items()}
    values = query.get(member.wire_name)
    if values is None:
        return None
    if member.item:
        return [_of_parameter(member.item, [value]) for value in values]
    return _of_parameter(member.shape, values)


def from_headers(member: Member, request: Request) -> Any:
    """Decode and parse the value in a header; return None if the request lacks the header.

    Raises `ValueError` if the value cannot be decoded.
    """
    name = member.wire_name.lower()
    if member.location == "headers":
        return {key[len(name) :]: _utf_8(value) for key, value in request.headers if key.startswith(name)}
    text = request.header(name)
    if text is None:
        return None
    if member.packed:
        return base64.b64decode(text.encode(*OCTETS), validate=True).decode()
    if member.item:
        return [texts.read(member.item, item, texts.RFC_822) for item in _items(member.item, _utf_8(text))]
    return texts.read(member.shape, _utf_8(text), texts.RFC_822)


def to_headers(member: Member, value: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield the response headers for a member's value."""
    if member.location == "headers":
        for name, text in value.items():
            yield (member.wire_name + name).lower().encode(), text.encode()
        return
    if member.packed:
        text = base64.b64encode(value.encode()).decode()
    elif member.item:
        text = ", ".join(_quoted(member.item, texts.write(member.item, item, texts.RFC_822)) for item in value)
    else:
        text = texts.write(member.shape, value, texts.RFC_822)
    yield member.wire_name.lower().encode(), text.encode()


def parameters(query: str) -> dict[str, list[str]]:
    """Split a query into its parameters, and decode the names of the parameters but not their values.

    The values stay encoded, so that an invalid value causes an error only if a member uses the parameter. Raises
    `ValueError` if a name cannot be decoded. A plus sign does not stand for a space, because SigV4 signs it as a plus
    sign.
    """
    values: dict[str, list[str]] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        values.setdefault(decoded(name), []).append(value)
    return values


def decoded(encoded: str) -> str:
    """Percent-decode a string. A percent sign that is not followed by two hex digits is kept unchanged."""
    if "%" not in encoded and encoded.isascii():
        return encoded
    return unquote_to_bytes(encoded.encode(*OCTETS)).decode()


def _of_parameter(shape: Shape, values: list[str]) -> Any:
    read = [decoded(value) for value in values]
    if len(read) > 1 and shape["type"] != "list":
        raise Repeated
    return read if shape["type"] == "list" else texts.read(shape, read[0], texts.ISO_8601)


def _utf_8(text: str) -> str:
    return text.encode(*OCTETS).decode()


def _items(shape: Shape, text: str) -> list[str]:
    """Split a header value into the items of a list. Not every comma separates two items: a quoted string may contain
    commas, and every date contains a comma.
    """
    if shape["type"] == "timestamp":
        return _COMMA_BETWEEN_MOMENTS.split(text)
    found: list[str] = []
    end = 0
    while match := _ITEM.match(text, end):
        found.append(match[2].rstrip() if match[1] is None else re.sub(r"\\(.)", r"\1", match[1]))
        end = match.end()
    return found


def _quoted(shape: Shape, text: str) -> str:
    if shape["type"] == "timestamp" or not _NEEDS_QUOTES.search(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
