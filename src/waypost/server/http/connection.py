"""One HTTP/1.1 connection, with limits on the size and duration of a client's requests. httptools parses the bytes."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Protocol, cast

import httptools
from msgspec import Struct, field
from starlette.types import ASGIApp

from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.server.http import heads, parsers
from waypost.server.http.exchanges import AsgiExchange, CallExchange, Calls, Exchange, Head, refusing, request_ids
from waypost.server.http.limits import HttpAdmission, HttpBounds

HEAD_OCTETS = 64 * 1024
"""The maximum size in bytes of a request line and the header fields together. In a request from an AWS SDK, they have
about 1,000 bytes."""

REST_OCTETS = 1024 * 1024
"""The maximum size in bytes of a request's body, including its chunk framing and trailers. For the body alone, the
application enforces a smaller maximum."""

PIPELINED = 100
"""The number of requests that may wait for responses to earlier requests (RFC 9112 section 9.3.2). While as many wait,
the server parses and reads no further requests."""

SHORTEST = len(b"GET / HTTP/1.1\n\n")
"""The size of the shortest request in bytes, from which follows how many requests some bytes can contain."""


class Expected(Enum):
    """The part of a request that the server expects next from the client."""

    HEAD = auto()
    """The rest of a request header, or the start of another request."""
    BODY = auto()
    """The rest of a request body."""
    NOTHING = auto()
    """Nothing: the request is complete, and the server must respond."""


_HEAD, _BODY, _NOTHING = Expected  # a global name is faster to look up than a member of an enumeration


class Shared(Struct, kw_only=True):
    """The parts of a server that all its connections use."""

    application: ASGIApp
    """Answers the requests for paths that begin with one of `prefixes`, and browsers' requests for `landings`."""
    prefixes: tuple[str, ...]
    landings: frozenset[str]
    calls: Calls | None
    """Answers all other requests."""
    admission: HttpAdmission
    incidents: Incidents
    connections: "set[ServedConnection]" = field(default_factory=set)
    running: set[Exchange] = field(default_factory=set)
    """The requests that are being handled, including requests of clients that have disconnected."""
    request_ids: Iterator[str] = field(default_factory=request_ids)
    date: bytes = field(default_factory=heads.date)
    """The Date field of the responses. The server updates it once a second."""


class ServedConnection(Protocol):
    """What the server does with each of its connections."""

    transport: asyncio.Transport

    def check_time(self) -> None:
        """End the connection if the client has taken too long. The server calls this method once a second."""

    def shut_down(self) -> None:
        """Close the connection after the response to the current request, because the server stops."""


class HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 connection, with limits on the size and duration of requests and responses.

    The connection measures time by counting the calls to `check_time`, which the server calls once a second. Therefore,
    a change to the system clock does not move a deadline, and time during which the server is busy does not count.
    """

    def __init__(self, shared: Shared, *, under: asyncio.Transport | None = None, peer: str = "") -> None:
        """`under` is the transport that carries a TLS connection, and `peer` the IP address of its client, which has
        been admitted already. Without TLS, there is neither.
        """
        self.shared = shared
        self._under = under
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.client: tuple[str, int] | None = None
        """The client's IP address and port."""
        self.address: tuple[str, int] | None = None
        """The server's IP address and port."""
        self.peer = peer
        """The client's IP address."""
        self.exchange: Exchange | None = None
        """The request whose response is pending or in progress."""
        self.pipeline: deque[Exchange] = deque()
        """The requests that wait for the responses to earlier requests."""
        self._admission = shared.admission
        self._bounds = shared.admission.bounds
        self._parser = parsers.new_parser(self)
        self._url = b""
        self._fields: list[bytes] = []
        """The name and the value of each header field, one after the other."""
        self._receiving: Exchange | None = None
        """The request whose body is being received."""
        self._room: asyncio.Event | None = None
        """Set when the client has read enough of the response. None if the server need not wait for the client."""
        self._is_paused = False
        """Whether the server has stopped reading."""
        self._unparsed = b""
        """What the client has sent after as many requests as may wait. The server reads nothing more until it is
        parsed."""
        self._is_admitted = under is not None
        self._may_linger = False
        """Whether this refused connection stays open for a moment, so that the client can read the response."""
        self._is_over = False
        """Whether the server has ended the connection and no longer parses input or writes responses."""
        self._expected = _HEAD
        self._has_answered = False
        """Whether a response on this connection is complete."""
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit or refuse a client that has connected. The event loop calls this method."""
        self.transport = cast("asyncio.Transport", transport)
        self.shared.connections.add(self)
        self.client, self.address = _address(transport, "peername"), _address(transport, "sockname")
        if self.client is None:  # the client has already disconnected
            self._is_over = True
            self.transport.abort()
            return
        self.peer = self.client[0]
        if self._is_admitted:
            return
        refusal = self._admission.enter(self.peer)
        if refusal is None:
            self._is_admitted = True
            return
        self._may_linger = self._admission.linger()
        self._end(HTTPStatus.SERVICE_UNAVAILABLE, refusal)
        if not self._may_linger:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse bytes that the client has sent, up to the size limits. The event loop calls this method."""
        if self._unparsed:
            self._unparsed += data
            return
        while data and not self._is_over:
            room = PIPELINED - len(self.pipeline)
            if room <= 0:
                self.pause_reading()
                self._unparsed = data
                return
            size = room * SHORTEST
            self._take(data[:size])
            data = data[size:]

    def _take(self, data: bytes) -> None:
        """Parse bytes, up to the size limits."""
        if self._expected is _HEAD:
            self._head_octets += len(data)
        else:
            self._rest_octets += len(data)
            if self._rest_octets > REST_OCTETS:  # the application has already responded, or waits for trailers
                self._abort()
                return
        self._parse(data)
        if self._expected is _HEAD and self._head_octets > HEAD_OCTETS and not self._is_over:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The header has more than {HEAD_OCTETS} bytes.")

    def _take_unparsed(self) -> None:
        """Parse what the client has sent while too many requests waited, and read again if all of it is parsed."""
        data, self._unparsed = self._unparsed, b""
        self.data_received(data)
        self.resume_reading()

    def pause_writing(self) -> None:
        """Let responses wait until the client has read more. The event loop calls this method."""
        self._room = asyncio.Event()

    def resume_writing(self) -> None:
        """Let responses continue. The event loop calls this method when the client has read enough."""
        if self._room:
            self._room.set()
            self._room = None

    def connection_lost(self, _: Exception | None) -> None:
        """Release everything that the connection has used. The event loop calls this method when the connection has
        ended.
        """
        self._is_over = True
        self.shared.connections.discard(self)
        if self._is_admitted:
            self._admission.leave(self.peer)
        if self._may_linger:
            self._admission.lingered()
        self._is_admitted = self._may_linger = False
        if self.exchange:
            self.exchange.end()
        self.resume_writing()
        # An object that is still handling a request refers to the connection. The connection refers to nothing more, so
        # that no cycle of references remains.
        self.exchange = self._receiving = None
        self.pipeline.clear()
        self._unparsed = b""
        del self._parser

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a request. The parser calls this method at the first byte of the request."""
        if self._expected is not _HEAD:  # the same read has ended the previous request
            self._expected = _HEAD
            self._head_octets = 0
        self._rest_octets = self._seconds = 0
        self._url = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        """Take the request target, or a part of it. The parser calls this method."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header field or a trailer field. The parser calls this method for each field.

        The server does not use trailer fields: nothing reads the list after the header is complete.
        """
        self._fields += name, value

    def on_headers_complete(self) -> None:
        """Begin the response, unless earlier requests wait for their responses. The parser calls this method at the end
        of a request header.
        """
        parser, fields = self._parser, self._fields
        self._fields = []
        names = b"\n".join(fields[::2]).lower().split(b"\n") if fields else []  # a name has no line end
        version, method = parser.get_http_version(), parser.get_method().decode("ascii")
        keep_alive = version != "1.0" and parser.should_keep_alive()
        path, query = parsers.path_and_query(self._url)
        head = Head(version, method, path, query, names=names, values=fields[1::2], keep_alive=keep_alive)
        self._expected = _BODY
        self._seconds = 0
        if parser.should_upgrade():
            self._framing = [each for each in head.headers if each[0] in (b"content-length", b"transfer-encoding")]
        self._receiving = exchange = self._exchange_of(head)
        if self.exchange:
            self.pause_reading()
            self.pipeline.append(exchange)
        else:
            self.exchange = exchange
            exchange.begin()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a request's body. The parser calls this method."""
        if self._receiving:
            self._receiving.receive(body)

    def on_message_complete(self) -> None:
        """Stop waiting for the rest of a request. The parser calls this method at the end of the request."""
        if self._framing:  # for a request with an Upgrade field, httptools calls this before the body
            return
        self._expected = _NOTHING
        if self._receiving:
            self._receiving.end_of_body()
            self._receiving = None
        self._expect_another()

    # For exchanges

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self._under is not None

    @property
    def is_full(self) -> bool:
        """Whether the client must read before the server writes more."""
        return self._room is not None

    async def room(self) -> None:
        """Wait until the client has read enough of the earlier bytes, or has disconnected."""
        while self._room:
            await self._room.wait()

    def write(self, octets: bytes) -> None:
        """Write bytes of a response, unless the connection is closing."""
        if not (self._is_over or self.transport.is_closing()):
            self._sent += len(octets)
            self.transport.write(octets)

    def completed(self, exchange: Exchange) -> None:
        """Continue with the next request, because the response to the current request is complete."""
        self._unread_seconds = 0
        self._sent = self._unread
        self._has_answered = True
        self.exchange = None
        if not exchange.keep_alive:
            self.transport.close()
        if self.transport.is_closing():
            return
        self.resume_reading()
        if self.pipeline:
            self.exchange = self.pipeline.popleft()
            self.exchange.begin()
        if self._unparsed:
            self.loop.call_soon(self._take_unparsed)  # not now, because the parser may have called this method
        self._expect_another()

    def pause_reading(self) -> None:
        """Stop reading, so that the data that waits for the application stays small."""
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, if everything that was read is parsed."""
        if self._is_paused and not self._unparsed:
            self._is_paused = False
            self.transport.resume_reading()

    def log_failure(self, error: Exception) -> None:
        """Log an error of an application, unless the application has already logged it."""
        if not isinstance(error, events.AlreadyReported):
            self.shared.incidents.report(error, where="http")

    # For the server

    def shut_down(self) -> None:
        """Close the connection after the response to the current request, or immediately if there is none or if it does
        not end.
        """
        if self.exchange and self.exchange.is_endless:
            self._over()
            self.transport.close()
        elif self.exchange:
            self.exchange.keep_alive = False
        else:
            self.transport.close()

    def check_time(self) -> None:
        """End the connection if the client has taken too long. The server calls this method once a second."""
        bounds, is_crowded = self._bounds, self._admission.is_crowded
        if self._is_over:
            self._seconds += 1
            if self._seconds > bounds.linger:
                self.transport.abort()
            return
        unread = self._unread
        if unread:
            self._unread_seconds += 1
            if self._unread_seconds > bounds.answer_time(max(0, self._sent - unread), is_crowded=is_crowded):
                self._log_closed("the client did not read the response in time")
                self._abort()
        else:
            if self.exchange and self.exchange.is_endless:
                # The time limit for a response begins again when the client has read everything that was written.
                self._unread_seconds = self._sent = 0
            self._check_arrival(bounds, is_crowded=is_crowded)

    @property
    def _unread(self) -> int:
        """The number of bytes that have been written, but have not been passed to the operating system."""
        below = self._under.get_write_buffer_size() if self._under else 0
        return below + self.transport.get_write_buffer_size()

    def _check_arrival(self, bounds: HttpBounds, *, is_crowded: bool) -> None:
        """End the connection if the client has taken too long to send the part of a request that the server expects."""
        if self._expected is _NOTHING or self._is_paused or self.transport.is_closing():
            return
        self._seconds += 1
        if self._expected is _BODY:
            if self._seconds > bounds.body_time(self._rest_octets, is_crowded=is_crowded):
                self._refuse_late("body")
        elif self._head_octets:
            if self._seconds > bounds.head_time(is_crowded=is_crowded):
                self._refuse_late("header")
        elif self._seconds > bounds.idle_time(is_crowded=is_crowded, has_answered=self._has_answered):
            self.transport.close()

    # The parser

    def _exchange_of(self, head: Head) -> Exchange:
        refusal = heads.refusal(head.version, head.method, head.names, head.values)
        if refusal:
            return AsgiExchange(self, head, refusing(*refusal))
        shared = self.shared
        if shared.calls is None or head.path.startswith(shared.prefixes):
            return AsgiExchange(self, head, shared.application)
        if head.path in shared.landings and head.is_of_browser:
            return AsgiExchange(self, head, shared.application)
        return CallExchange(self, head, shared.calls)

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
                    self._parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    rest = memoryview(rest)[upgrade.args[0] :]
                if self._framing:
                    framing, self._framing = self._framing, []
                    self._parser = parsers.parser_of_body(self, framing)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")

    def _expect_another(self) -> None:
        """Wait for another request, if the current request and its response are complete."""
        if self._expected is _NOTHING and self.exchange is None:
            self._expected = _HEAD
            self._head_octets = self._seconds = 0

    # End of the connection

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """End the connection. First send an error response, unless the response to an earlier request is pending or in
        progress.

        If such a response is pending or in progress, the client would mistake the error response for that response, or
        for a part of it.
        """
        if self._expected is _HEAD:
            may_answer = self.exchange is None
        else:
            has_begun = self.exchange is None or self.exchange.has_begun
            may_answer = self._expected is _BODY and not (self.pipeline or has_begun)
        if may_answer:
            self._end(status, text)
        else:
            self._over()
            self.transport.close()

    def _refuse_late(self, part: str) -> None:
        self._log_closed(f"the {part} of the request did not arrive in time")
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The {part} of the request did not arrive in time.")

    def _end(self, status: HTTPStatus, text: str) -> None:
        """Send an error response, and close the connection after a moment.

        If the server closed the connection immediately, with bytes unread, the operating system would send a TCP reset,
        and the client might never see the response. Therefore, the server first shuts down only its sending side, and
        reads and discards further bytes for a moment.
        """
        self.transport.write(heads.refused(status, text))
        self._over()
        if self.is_secure:  # TLS has no half-closed connections; closing sends everything, and discards further bytes
            self.transport.close()
            return
        with suppress(OSError, RuntimeError):  # the client may have disconnected already
            self.transport.write_eof()

    def _abort(self) -> None:
        self._over()
        self.transport.abort()

    def _over(self) -> None:
        """Stop reading and writing. Tell the application that the rest of the request will not arrive."""
        self._is_over = True
        self._seconds = 0
        if self.exchange:
            self.exchange.end()

    def _log_closed(self, reason: str) -> None:
        self._admission.emit(events.HttpConnectionClosed(peer=self.peer, reason=reason))


def _address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int] | None:
    found = transport.get_extra_info(name)
    return (found[0], found[1]) if found else None
