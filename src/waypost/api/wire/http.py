"""Value types for HTTP: a request as received, and a response before it is sent."""

from collections.abc import Sequence

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

    @classmethod
    def received(
        cls, method: str, raw_path: str, query: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> "Request":
        """Return a request whose headers are bytes, with names in lower case, as the HTTP parser provides them."""
        names = b"\n".join([name for name, _ in headers]).decode("latin-1").split("\n")
        values = [value.strip(b" \t").decode(*OCTETS) for _, value in headers]
        return cls(method, raw_path, query, tuple(zip(names, values, strict=True)), body)

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this lower-case name, or None if the request has no such header."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Response(msgspec.Struct, frozen=True):
    """An HTTP response, without the headers that every response has."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    error_type: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """The headers that carry members of the output."""
