"""One HTTP connection: uvicorn's HTTP/1.1 implementation, with limits on the size and duration of a client's requests.

This module uses names that are not part of uvicorn's public interface. `tests/test_library_internals.py` lists the
internal names that Waypost uses, and `pyproject.toml` sets an upper bound on the version of uvicorn because of them.
"""

import asyncio
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from waypost.observe import events
from waypost.server.http.limits import HttpAdmission

HEAD_OCTETS = 64 * 1024
"""The maximum size in bytes of a request line and the header fields together. In a request from an AWS SDK, they have
about 1,000 bytes."""

REST_OCTETS = 1024 * 1024
"""The maximum size in bytes of a request's body, including its chunk framing and trailers. For the body alone, the
application enforces a smaller maximum."""

PIPELINED = 100
"""The maximum number of requests that may wait for responses to earlier requests (RFC 9112 section 9.3.2)."""


class Expected(Enum):
    """The part of a request that the server expects next from the client."""

    HEAD = auto()
    """The rest of a request header, or the start of another request."""
    BODY = auto()
    """The rest of a request body."""
    NOTHING = auto()
    """Nothing: the request is complete, and the server must respond."""


class TooManyRequests(Exception):
    """The client has sent too many requests without waiting for the responses: more than `PIPELINED` are waiting."""


class HttpConnection(HttpToolsProtocol):
    """One HTTP/1.1 connection that uvicorn handles, with limits on the size and duration of requests and responses.

    The connection measures time by counting the calls to `check_time`, which the server calls once a second. Therefore,
    a change to the system clock does not move a deadline, and time during which the server is busy does not count.
    """

    def __init__(self, *, admission: HttpAdmission, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._admission = admission
        self._bounds = admission.bounds
        self._peer = ""
        self._is_admitted = False
        self._may_linger = False
        """Whether this refused connection stays open for a moment, so that the client can read the response."""
        self._is_over = False
        """Whether the server has ended the connection and no longer parses input or writes responses."""
        self._expected = Expected.HEAD
        self._head_octets = self._rest_octets = 0
        self._seconds = 0
        """The number of seconds for which the server has waited for the part of the request that it expects."""
        self._sent = 0
        """The number of bytes written for the current response, plus the bytes of earlier responses that were still
        unread when the previous response was complete."""
        self._unread_seconds = 0
        """The number of seconds during which a part of the response has been waiting for the client to read it."""
        self._framing: list[tuple[bytes, bytes]] = []
        """The Content-Length and Transfer-Encoding fields of a request that has a body and an Upgrade field."""

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit or refuse a client that has connected. The event loop calls this method."""
        super().connection_made(transport)
        if self.client is None:  # the client has already disconnected
            self._is_over = True
            transport.abort()
            return
        self._peer = self.client[0]
        refusal = self._admission.enter(self._peer)
        if refusal is None:
            self._is_admitted = True
            return
        self._may_linger = self._admission.linger()
        self._end(HTTPStatus.SERVICE_UNAVAILABLE, refusal)
        if not self._may_linger:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse bytes that the client has sent, up to the size limits. The event loop calls this method."""
        self._unset_keepalive_if_required()
        if self._is_over:
            return
        if self._expected is Expected.HEAD:
            self._head_octets += len(data)
        else:
            self._rest_octets += len(data)
            if self._rest_octets > REST_OCTETS:  # the application has already responded, or waits for trailers
                self._abort()
                return
        self._parse(data)
        if self._expected is Expected.HEAD and self._head_octets > HEAD_OCTETS and not self._is_over:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The header has more than {HEAD_OCTETS} bytes.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that the connection has used. The event loop calls this method when the connection has
        ended.
        """
        self._is_over = True
        if self._is_admitted:
            self._admission.leave(self._peer)
        if self._may_linger:
            self._admission.lingered()
        self._is_admitted = self._may_linger = False
        super().connection_lost(exc)
        if not self._is_answering:
            self.cycle = None  # type: ignore[assignment]  # the connection and the cycle refer to each other

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a request. The parser calls this method at the first byte of the request."""
        if self._expected is not Expected.HEAD:  # the same read has ended the previous request
            self._expected = Expected.HEAD
            self._head_octets = 0
        self._rest_octets = self._seconds = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header field, but ignore a trailer field. The parser calls this method for each field."""
        if self._expected is Expected.HEAD:  # the server does not use trailers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the response. The parser calls this method at the end of a request header. Raises `TooManyRequests`."""
        if len(self.pipeline) >= PIPELINED:
            raise TooManyRequests
        super().on_headers_complete()
        self._expected = Expected.BODY
        self._seconds = 0
        if self.parser.should_upgrade():
            self._framing = [each for each in self.headers if each[0] in (b"content-length", b"transfer-encoding")]
        answer = Answer(self, self.cycle)
        self.cycle.transport = cast(asyncio.Transport, answer)
        self.cycle.on_response = answer.complete

    def on_message_complete(self) -> None:
        """Stop waiting for the rest of a request. The parser calls this method at the end of the request."""
        if self._framing:  # for a request with an Upgrade field, httptools calls this before the body
            return
        self._expected = Expected.NOTHING
        super().on_message_complete()
        self._expect_another()

    # Callbacks of uvicorn's request-response cycle

    def on_response_complete(self) -> None:
        """Restart the measurement of the time that the client needs to read a response. The uvicorn library calls this
        method when a response is complete.
        """
        self._unread_seconds = 0
        self._sent = self.transport.get_write_buffer_size()
        super().on_response_complete()
        self._expect_another()

    def write_out(self, octets: bytes) -> None:
        """Write bytes of a response, unless the connection is closing."""
        if not (self._is_over or self.transport.is_closing()):
            self._sent += len(octets)
            self.transport.write(octets)

    # Time

    def check_time(self) -> None:
        """End the connection if the client has taken too long. The server calls this method once a second."""
        bounds, is_crowded = self._bounds, self._admission.is_crowded
        if self._is_over:
            self._seconds += 1
            if self._seconds > bounds.linger:
                self.transport.abort()
            return
        unread = self.transport.get_write_buffer_size()
        if unread:
            self._unread_seconds += 1
            if self._unread_seconds > bounds.answer_time(max(0, self._sent - unread), is_crowded=is_crowded):
                self._log_closed("the client did not read the response in time")
                self._abort()
            return
        if self._expected is Expected.NOTHING or self.flow.read_paused or self.transport.is_closing():
            return
        self._seconds += 1
        if self._expected is Expected.BODY:
            if self._seconds > bounds.body_time(self._rest_octets, is_crowded=is_crowded):
                self._log_closed("the body of the request did not arrive in time")
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body of the request did not arrive in time.")
        elif self._seconds > bounds.head_time(is_crowded=is_crowded):
            if self._head_octets:
                self._log_closed("the header of the request did not arrive in time")
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The header of the request did not arrive in time.")
            else:
                self.transport.close()

    # The parser

    def _parse(self, data: bytes | memoryview) -> None:
        """Pass received bytes to the parser.

        The server ignores the Upgrade field of a request (RFC 9110 section 7.8), and handles that request and later
        requests as HTTP/1.1. If a request has an Upgrade field, the httptools parser stops at the end of the header,
        whether or not a body follows, and reports where it stopped.
        """
        rest = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    rest = memoryview(rest)[upgrade.args[0] :]
                if self._framing:
                    framing, self._framing = self._framing, []
                    self.parser = _parser_of_body(self, framing)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")

    @property
    def _is_answering(self) -> bool:
        """Whether the response to a request is pending or in progress."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect_another(self) -> None:
        """Wait for another request, if the current request and its response are complete."""
        if self._expected is Expected.NOTHING and not self._is_answering:
            self._expected = Expected.HEAD
            self._head_octets = self._seconds = 0

    # End of the connection

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """End the connection. First send an error response, unless the response to an earlier request is pending or in
        progress.

        If such a response is pending or in progress, the client would mistake the error response for that response, or
        for a part of it.
        """
        if self._expected is Expected.HEAD:
            may_answer = not self._is_answering
        else:
            may_answer = self._expected is Expected.BODY and not (self.pipeline or self.cycle.response_started)
        if may_answer:
            self._end(status, text)
        else:
            self._over()
            self.transport.close()

    def _end(self, status: HTTPStatus, text: str) -> None:
        """Send an error response, and close the connection after a moment.

        If the server closed the connection immediately, with bytes unread, the operating system would send a TCP reset,
        and the client might never see the response. Therefore, the server first shuts down only its sending side, and
        reads and discards further bytes for a moment.
        """
        body = f"{text}\n".encode()
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            lines.append("Retry-After: 1")
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self._over()
        with suppress(OSError, RuntimeError):  # the client may have disconnected already
            self.transport.write_eof()

    def _abort(self) -> None:
        self._over()
        self.transport.abort()

    def _over(self) -> None:
        """Stop reading and writing. Tell the application that the rest of the request will not arrive."""
        self._is_over = True
        self._seconds = 0
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _log_closed(self, reason: str) -> None:
        self._admission.emit(events.HttpConnectionClosed(peer=self._peer, reason=reason))


class Answer:
    """The transport of one response. It buffers the header until the body arrives, and then sends the header and the
    body together.

    If the header and the body were sent separately, as uvicorn writes them, the client would get two packets and wake
    up twice. The first write after uvicorn has begun a response is always the header, so the class need not parse the
    bytes to find it.
    """

    __slots__ = ("_connection", "_cycle", "_head")

    def __init__(self, connection: HttpConnection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle: RequestResponseCycle | None = cycle
        """The request-response cycle; None after its response has begun."""
        self._head = b""

    def write(self, octets: bytes) -> None:
        """Write `100 Continue`, the response header, or a part of the body. The uvicorn library calls this method."""
        if self._cycle is None:
            if self._head:
                octets, self._head = self._head + octets, b""
            self._connection.write_out(octets)
        elif self._cycle.response_started:
            self._cycle = None
            self._head = as_aws_writes(octets)
        else:
            self._connection.write_out(octets)

    def complete(self) -> None:
        """Send the rest of the response. The uvicorn library calls this method when the response is complete."""
        self._flush()
        self._connection.on_response_complete()

    def close(self) -> None:
        """Close the connection. The uvicorn library calls this method after the last response, or when the application
        has failed.
        """
        self._flush()
        self._connection.transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closing. The uvicorn library calls this method before it sends `100 Continue`."""
        return self._connection.transport.is_closing()

    def _flush(self) -> None:
        if self._head:  # the response has no body
            self._connection.write_out(self._head)
            self._head = b""


_NAMES = tuple(
    (f"\r\n{name.lower()}: ".encode(), f"\r\n{name}: ".encode())
    for name in ("Date", "Content-Type", "Content-Length", "Connection", "x-amzn-RequestId", "x-amzn-ErrorType")
)

_CLOSING = b"\r\nConnection: close"
_REQUEST_ID = b"\r\nx-amzn-RequestId: "
_KEPT_ALIVE = b"\r\nConnection: keep-alive" + _REQUEST_ID


def as_aws_writes(head: bytes) -> bytes:
    """Return the header of a response in the form that the AWS documentation shows.

    The uvicorn library writes all field names in lower case, and sends a Connection field only if it closes the
    connection. The library refuses field values that contain a line end. Therefore, each line end is followed by a
    field name, and this function can replace the names without parsing the header.
    """
    for uvicorns, aws in _NAMES:
        head = head.replace(uvicorns, aws, 1)
    if _CLOSING not in head:
        head = head.replace(_REQUEST_ID, _KEPT_ALIVE, 1)
    return head


class _FromBodyOn:
    """Parser callbacks that forward only the body of the first request, but all parts of later requests."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._is_first = True
        self.on_body = connection.on_body

    def on_message_begin(self) -> None:
        if not self._is_first:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_first:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_first:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._is_first:
            self._connection.on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_first = False
        self._connection.on_message_complete()


def _parser_of_body(connection: HttpConnection, framing: list[tuple[bytes, bytes]]) -> httptools.HttpRequestParser:
    """Return a parser that has already read a header with the given framing fields, and expects the body next."""
    parser = httptools.HttpRequestParser(_FromBodyOn(connection))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # like uvicorn's parser; `refusal` relies on it
    fields = b"".join(b"%s: %s\r\n" % each for each in framing)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n" % fields)
    return parser
