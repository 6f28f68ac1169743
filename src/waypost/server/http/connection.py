"""One HTTP connection: uvicorn's HTTP/1.1, with limits on what a client may send and how long it may take.

Some of what is used here is not part of uvicorn's public interface: `tests/test_library_internals.py` lists it, and
`pyproject.toml` has an upper bound for that reason.
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
"""Request line and headers. AWS SDKs send about one thousand octets."""

REST_OCTETS = 1024 * 1024
"""Octets after the head: the body, which the application limits further, its chunks, and trailers."""

PIPELINED = 100
"""Requests of one client that wait for the response to an earlier one (RFC 9112 section 9.3.2)."""


class Expected(Enum):
    """What the server expects of the client next."""

    HEAD = auto()
    """The rest of a header, or another request."""
    BODY = auto()
    """The rest of a body."""
    NOTHING = auto()
    """The request is complete; it is the server's turn."""


class TooManyRequests(Exception):
    """A client sends requests without waiting for responses."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 within bounds.

    Time is counted in calls of `look`, one a second, so no clock that is set can change a deadline, and a server that
    is busy does not count against its clients.
    """

    def __init__(self, *, admission: HttpAdmission, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._admission = admission
        self._bounds = admission.bounds
        self._peer = ""
        self._is_admitted = False
        self._may_linger = False
        """Whether a refused connection is one of those that stay open for a moment."""
        self._is_over = False
        """Whether the server has ended the connection, and reads and writes nothing more."""
        self._expected = Expected.HEAD
        self._head_octets = self._rest_octets = 0
        self._seconds = 0
        """Seconds that the server has waited for what it expects."""
        self._sent = 0
        """Octets of the present response, and of what the client had not read before it."""
        self._unread_seconds = 0
        """Seconds that the client has had some of it to read."""
        self._framing: list[tuple[bytes, bytes]] = []
        """The headers that say where the body ends, of a request with a body that names another protocol."""

    # What the loop tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the loop: a client has connected."""
        super().connection_made(transport)
        if self.client is None:  # the client is gone already
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
        """Called by the loop with what a client has sent."""
        self._unset_keepalive_if_required()
        if self._is_over:
            return
        if self._expected is Expected.HEAD:
            self._head_octets += len(data)
        else:
            self._rest_octets += len(data)
            if self._rest_octets > REST_OCTETS:  # the application has answered long ago, or waits for trailers
                self._abort()
                return
        self._parse(data)
        if self._expected is Expected.HEAD and self._head_octets > HEAD_OCTETS and not self._is_over:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The header has more than {HEAD_OCTETS} octets.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: the connection has ended."""
        self._is_over = True
        if self._is_admitted:
            self._admission.leave(self._peer)
        if self._may_linger:
            self._admission.lingered()
        self._is_admitted = self._may_linger = False
        super().connection_lost(exc)
        if not self._is_answering:
            self.cycle = None  # type: ignore[assignment]  # each refers to the other

    # What the parser tells

    def on_message_begin(self) -> None:
        """Called by the parser at the first octet of a request."""
        if self._expected is not Expected.HEAD:  # it has come together with the end of the one before
            self._expected = Expected.HEAD
            self._head_octets = 0
        self._rest_octets = self._seconds = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser with a header, or with a trailer."""
        if self._expected is Expected.HEAD:  # nobody has asked for trailers, and nothing depends on them
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser. Raises `TooManyRequests`."""
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
        """Called by the parser at the end of a request."""
        if self._framing:  # httptools says so of a request that names another protocol, before its body
            return
        self._expected = Expected.NOTHING
        super().on_message_complete()
        self._expect_another()

    # What uvicorn's cycle tells

    def on_response_complete(self) -> None:
        """Called when a response is complete."""
        self._unread_seconds = 0
        self._sent = self.transport.get_write_buffer_size()
        super().on_response_complete()
        self._expect_another()

    def write_out(self, octets: bytes) -> None:
        """Write octets of a response."""
        if not (self._is_over or self.transport.is_closing()):
            self._sent += len(octets)
            self.transport.write(octets)

    # Time

    def look(self) -> None:
        """Check whether the client has taken too long. Called once a second."""
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
                self._tell("the client did not read the response in time")
                self._abort()
            return
        if self._expected is Expected.NOTHING or self.flow.read_paused or self.transport.is_closing():
            return
        self._seconds += 1
        if self._expected is Expected.BODY:
            if self._seconds > bounds.body_time(self._rest_octets, is_crowded=is_crowded):
                self._tell("the body of the request did not come in time")
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body of the request did not come in time.")
        elif self._seconds > bounds.head_time(is_crowded=is_crowded):
            if self._head_octets:
                self._tell("the header of the request did not come in time")
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The header of the request did not come in time.")
            else:
                self.transport.close()

    # The parser

    def _parse(self, data: bytes | memoryview) -> None:
        """Pass received octets to the parser.

        A request that names another protocol (`Upgrade`) is answered as if it did not, and so is what follows it (RFC
        9110 section 7.8). httptools stops at the end of its header, body or not, and says where.
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
        """Whether the response to a request is due or under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect_another(self) -> None:
        """Wait for another request, if this one is complete and answered."""
        if self._expected is Expected.NOTHING and not self._is_answering:
            self._expected = Expected.HEAD
            self._head_octets = self._seconds = 0

    # The end

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """End the connection with an error response, unless a response to an earlier request is pending or in progress.

        Otherwise the client would take this for that response, or for a part of it.
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
        """Send an error response, and end the connection.

        Closing at once, with octets unread, would make the system send a reset, and the client might never see the
        answer. So the server ends its side, and reads on for a moment without looking.
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
        with suppress(OSError, RuntimeError):  # the client may be gone already
            self.transport.write_eof()

    def _abort(self) -> None:
        self._over()
        self.transport.abort()

    def _over(self) -> None:
        """Stop reading and writing; the application learns that the rest of a request will not come."""
        self._is_over = True
        self._seconds = 0
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _tell(self, reason: str) -> None:
        self._admission.emit(events.HttpConnectionClosed(peer=self._peer, reason=reason))


class Answer:
    """The transport of one response. It holds the head until the body comes, and sends both together.

    uvicorn writes them one by one, which is two packets, and wakes the client twice. The head is known by the moment of
    the write, never by its octets: it is the first write after uvicorn has begun the response.
    """

    __slots__ = ("_connection", "_cycle", "_head")

    def __init__(self, connection: HttpConnection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle: RequestResponseCycle | None = cycle
        """Until the response has begun."""
        self._head = b""

    def write(self, octets: bytes) -> None:
        """Called by uvicorn with `100 Continue`, the head, or a part of the body."""
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
        """Called by uvicorn when the response is complete."""
        self._flush()
        self._connection.on_response_complete()

    def close(self) -> None:
        """Called by uvicorn behind the last response of a connection, or when the application has failed."""
        self._flush()
        self._connection.transport.close()

    def is_closing(self) -> bool:
        """Called by uvicorn before it says `100 Continue`."""
        return self._connection.transport.is_closing()

    def _flush(self) -> None:
        if self._head:  # there is no body
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
    """The head of a response as AWS's documentation has it.

    uvicorn makes small letters of all names, and says of a connection only that it ends. It refuses values with a line
    end in them, so what follows one is a name.
    """
    for small, ours in _NAMES:
        head = head.replace(small, ours, 1)
    if _CLOSING not in head:
        head = head.replace(_REQUEST_ID, _KEPT_ALIVE, 1)
    return head


class _BehindHead:
    """The events of a parser: of the first request only its body, of the others everything."""

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
    """A parser that has read a header with this framing, and continues with the body."""
    parser = httptools.HttpRequestParser(_BehindHead(connection))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's parser, which `refusal` relies on
    fields = b"".join(b"%s: %s\r\n" % each for each in framing)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n" % fields)
    return parser
