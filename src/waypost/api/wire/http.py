"""HTTP as values: a request as it was received, a response before it is sent."""

import msgspec

OCTETS = ("utf-8", "surrogateescape")
"""The encoding of received octets as text, which loses nothing in either direction."""


class Request(msgspec.Struct, frozen=True):
    """An HTTP request as it came: nothing decoded, nothing normalised but the case of header names."""

    method: str
    raw_path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header with this lower-case name."""
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
    """Members of the output that are headers."""
