"""Value types for HTTP: a request as received, and a response before it is sent."""

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
