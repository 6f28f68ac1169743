"""The parsers of HTTP requests. httptools parses the requests, and ends a request with an Upgrade field too early."""

from typing import Protocol

import httptools

from waypost.api.wire.http import OCTETS


class Callbacks(Protocol):
    """The methods that a parser calls, in the order of the parts of a request."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        ...

    def on_url(self, url: bytes) -> None:
        """Take the request target, or a part of it."""
        ...

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field or a trailer field."""
        ...

    def on_headers_complete(self) -> None:
        """Take note that the header is complete."""
        ...

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        ...

    def on_message_complete(self) -> None:
        """Take note that the request is complete."""
        ...


def new_parser(callbacks: Callbacks) -> httptools.HttpRequestParser:
    """Return a parser of requests that calls these methods."""
    parser = httptools.HttpRequestParser(callbacks)
    # Without this leniency, the parser would refuse data after a request that ends the connection, even before the
    # server has responded to that request.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def parser_of_body(callbacks: Callbacks, framing: list[tuple[bytes, bytes]]) -> httptools.HttpRequestParser:
    """Return a parser that has already read a header with the given framing fields, and expects the body next."""
    parser = new_parser(_FromBodyOn(callbacks))
    fields = b"".join(b"%s: %s\r\n" % each for each in framing)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n" % fields)
    return parser


def path_and_query(url: bytes) -> tuple[str, str]:
    """Split a request target (RFC 9112 section 3.2). Raises an exception for a target that is not valid."""
    if url[:1] == b"/" and b"#" not in url:  # the common case
        path, _, query = url.partition(b"?")
    else:
        parsed = httptools.parse_url(url)
        path, query = parsed.path, parsed.query or b""
    return path.decode("ascii"), query.decode(*OCTETS)


class _FromBodyOn:
    """Parser callbacks that forward only the body of the first request, but all parts of later requests."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._is_first = True
        self.on_body = callbacks.on_body

    def on_message_begin(self) -> None:
        if not self._is_first:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_first:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_first:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._is_first:
            self._callbacks.on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_first = False
        self._callbacks.on_message_complete()
