"""Value types for HTTP: a request as received, and a response before it is sent."""

from collections.abc import Mapping

import msgspec

OCTETS = ("utf-8", "surrogateescape")
"""The codec and error handler that decode received bytes to text without loss, and encode the text back to the same
bytes.
"""


class Request(msgspec.Struct, frozen=True):
    """An HTTP request as received, except that its header names are in lower case. No part of the request is
    percent-decoded.
    """

    method: str
    raw_path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    first: Mapping[str, str] = {}
    """The value of the first header of each name. It is computed from `headers`."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "first", dict(self.headers[::-1]))

    @classmethod
    def received(
        cls, method: str, raw_path: str, query: str, *, names: list[bytes], values: list[bytes], body: bytes
    ) -> "Request":
        """Return a request whose headers are bytes, with names in lower case, as the HTTP parser provides them.

        The parser permits no line ends in names and values, so all of them can be decoded at once. It removes the
        whitespace before a value, but not after it.
        """
        text = b"\n".join([*values, b""])
        if b" \n" in text or b"\t\n" in text:
            text = b"\n".join([*[value.rstrip(b" \t") for value in values], b""])
        headers = zip(b"\n".join(names).decode("latin-1").split("\n"), text.decode(*OCTETS).split("\n"), strict=False)
        return cls(method, raw_path, query, tuple(headers), body)

    @property
    def has_repeated_headers(self) -> bool:
        """Whether several headers have the same name."""
        return len(self.first) < len(self.headers)

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this lower-case name, or None if the request has no such header."""
        return self.first.get(name)


class Response(msgspec.Struct, frozen=True):
    """An HTTP response, without the headers that every response has."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    error_type: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """The headers that carry members of the output."""
