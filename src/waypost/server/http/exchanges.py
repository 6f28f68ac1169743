"""One HTTP request with its response: a call of the API, which needs no ASGI, or a request to an ASGI application."""

import asyncio
import itertools
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waypost.api.wire.http import OCTETS, Request, Response
from waypost.server.http import heads
from waypost.server.http.heads import Headers

if TYPE_CHECKING:
    from waypost.server.http.connection import HttpConnection

HIGH_WATER = 64 * 1024
"""The number of bytes of a request's body that wait for an ASGI application before the server stops reading."""


class Calls(Protocol):
    """The application that answers the calls of the API."""

    body_limit: int
    """The maximum size of a body in bytes. `answer` gets a longer body as soon as it exceeds this size, so that it can
    refuse the request.
    """

    async def answer(self, request: Request, *, peer: str, request_id: str, is_secure: bool) -> Response:
        """Return the response to a call from the IP address `peer`. `is_secure` says whether it came over TLS."""
        ...


class Head:
    """The head of a request. The names of its header fields are in lower case."""

    __slots__ = ("keep_alive", "method", "names", "path", "query", "values", "version")

    def __init__(
        self,
        version: str,
        method: str,
        path: str,
        query: str,
        *,
        names: list[bytes],
        values: list[bytes],
        keep_alive: bool,
    ) -> None:
        self.version = version
        self.method = method
        self.path = path
        """The path of the request target, still percent-encoded."""
        self.query = query
        self.names = names
        self.values = values
        self.keep_alive = keep_alive
        """Whether the client and the HTTP version allow another request on the same connection."""

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1)."""
        return b"expect" in self.names and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )

    @property
    def is_of_browser(self) -> bool:
        """Whether a person's browser asks for a page: a GET request without a signature that accepts HTML.

        An SDK accepts no HTML, and signs in the Authorization field or in the query.
        """
        if self.method not in ("GET", "HEAD") or b"authorization" in self.names or "X-Amz-" in self.query:
            return False
        return any(name == b"accept" and b"text/html" in value.lower() for name, value in self.headers)

    @property
    def headers(self) -> Headers:
        """The header fields as pairs."""
        return list(zip(self.names, self.values, strict=True))


class Exchange(ABC):
    """A request and its response. The connection passes the parts of the request to this object, and calls `begin` when
    the responses to all earlier requests are complete.
    """

    __slots__ = ("_connection", "_head", "_task", "has_begun", "is_complete", "is_endless", "is_over", "keep_alive")

    def __init__(self, connection: "HttpConnection", head: Head) -> None:
        self._connection = connection
        self._head = head
        self._task: asyncio.Task[None] | None = None
        self.keep_alive = head.keep_alive
        """Whether the connection stays open after the response."""
        self.has_begun = False
        """Whether a part of the response has been written."""
        self.is_complete = False
        """Whether the whole response has been written."""
        self.is_endless = False
        """Whether the response is a stream of events, which ends only when the client disconnects."""
        self.is_over = False
        """Whether the client can no longer send the rest of the request, or read the response."""

    def begin(self) -> None:
        """Begin to handle the request."""
        self._task = self._connection.loop.create_task(self._run())

    @abstractmethod
    def receive(self, octets: bytes) -> None:
        """Take a part of the request's body."""

    @abstractmethod
    def end_of_body(self) -> None:
        """Take note that the request is complete."""

    def end(self) -> None:
        """Take note that the client can no longer send the rest of the request, or read the response."""
        self.is_over = True

    def cancel(self) -> None:
        """Stop handling the request."""
        if self._task:
            self._task.cancel()

    @abstractmethod
    async def _handle(self) -> None:
        """Handle the request, and write the response."""

    async def _run(self) -> None:
        running = self._connection.shared.running
        running.add(self)
        try:
            await self._handle()
        except Exception as error:  # noqa: BLE001 - the client must not see the cause
            self._connection.log_failure(error)
            self._fail()
        finally:
            running.discard(self)

    def _fail(self) -> None:
        """Respond with status 500. If the response has already begun, close the connection instead."""
        if self.is_over or self.has_begun:
            self._connection.transport.close()
            return
        self.keep_alive = False
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]
        self._complete(self._asgi_head(500, headers) + b"Internal Server Error")

    def _asgi_head(self, status: int, headers: Headers) -> bytes:
        closing = () if self.keep_alive else ((b"connection", b"close"),)
        return heads.of_asgi(status, [*headers, *closing], date=self._connection.shared.date)

    def _complete(self, octets: bytes) -> None:
        """Write the last bytes of the response, and let the connection continue with the next request."""
        self.has_begun = True
        self._connection.write(octets)
        self.is_complete = True
        self._connection.completed(self)


class CallExchange(Exchange):
    """A call of the API. The application gets the whole request at once, and the response is written at once."""

    __slots__ = ("_body", "_calls", "_has_turn", "_is_whole")

    def __init__(self, connection: "HttpConnection", head: Head, calls: Calls) -> None:
        super().__init__(connection, head)
        self._calls = calls
        self._body = bytearray()  # not `bytes`, because a client may send the body one byte at a time
        self._has_turn = False
        self._is_whole = False
        """Whether the body is complete, or is already too large."""

    def begin(self) -> None:
        """Begin to handle the request, if it is already complete."""
        self._has_turn = True
        if self._is_whole:
            super().begin()
        elif self._head.expects_continue:
            self._connection.write(heads.CONTINUE)

    def receive(self, octets: bytes) -> None:
        """Keep a part of the body until the body is complete."""
        if self._is_whole:
            return
        self._body += octets
        if len(self._body) > self._calls.body_limit:
            self._connection.pause_reading()  # so that the client can read the refusal before the rest of the body
            self.end_of_body()

    def end_of_body(self) -> None:
        """Handle the request, if its turn has come."""
        if not self._is_whole:
            self._is_whole = True
            if self._has_turn:
                super().begin()

    async def _handle(self) -> None:
        connection, head = self._connection, self._head
        request_id = next(connection.shared.request_ids)
        request = Request.received(
            head.method, head.path, head.query, names=head.names, values=head.values, body=bytes(self._body)
        )
        response = await self._calls.answer(
            request, peer=connection.peer, request_id=request_id, is_secure=connection.is_secure
        )
        written = heads.of_call(
            response, date=connection.shared.date, request_id=request_id, keep_alive=self.keep_alive
        )
        if connection.is_full:
            await connection.room()
        if not self.is_over:
            self._complete(written if head.method == "HEAD" else written + response.body)


class AsgiExchange(Exchange):
    """A request to an ASGI application, which can read the body and write the response in parts.

    Source: the ASGI specification, "HTTP & WebSocket ASGI Message Format", version 2.3.
    """

    __slots__ = ("_application", "_body", "_expects_continue", "_is_chunked", "_left", "_more_body", "_news", "_unsent")

    def __init__(self, connection: "HttpConnection", head: Head, application: ASGIApp) -> None:
        super().__init__(connection, head)
        self._application = application
        self._expects_continue = head.expects_continue
        self._body = bytearray()
        self._more_body = True
        self._news = asyncio.Event()
        """Set when a part of the body has arrived, and when no further part will arrive."""
        self._unsent = b""
        """The head of the response, until it is sent together with the first part of the body."""
        self._is_chunked = False
        self._left = 0
        """The number of bytes of the response's body that are still to be written, if the response has a length."""

    def receive(self, octets: bytes) -> None:
        """Let the application receive a part of the body."""
        if self.is_complete:
            return
        self._body += octets
        if len(self._body) > HIGH_WATER:
            self._connection.pause_reading()
        self._news.set()

    def end_of_body(self) -> None:
        """Let the application receive the end of the body."""
        self._more_body = False
        self._news.set()

    def end(self) -> None:
        """Notify the application that the client can no longer send or read."""
        super().end()
        self._news.set()

    async def _handle(self) -> None:
        await self._application(self._scope(), self._receive, self._send)
        if not self.is_complete and not self.is_over:
            raise RuntimeError("the ASGI application returned without a complete response")

    def _fail(self) -> None:
        self._flush()
        super()._fail()

    def _scope(self) -> Scope:
        head, connection = self._head, self._connection
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "server": connection.address,
            "client": connection.client,
            "scheme": "https" if connection.is_secure else "http",
            "method": head.method,
            "root_path": "",
            "path": unquote(head.path),
            "raw_path": head.path.encode(),
            "query_string": head.query.encode(*OCTETS),
            "headers": head.headers,
        }

    async def _receive(self) -> Message:
        if self._expects_continue and not self.has_begun:
            self._connection.write(heads.CONTINUE)
        self._expects_continue = False
        if not (self.is_over or self.is_complete):
            self._connection.resume_reading()
            await self._news.wait()
            self._news.clear()
        if self.is_over or self.is_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    async def _send(self, message: Message) -> None:
        if self._connection.is_full:
            await self._connection.room()
        if self.is_over or (self.is_complete and self._head.method == "HEAD"):
            return
        expected = "http.response.body" if self.has_begun else "http.response.start"
        if self.is_complete or message["type"] != expected:
            raise RuntimeError(f"the ASGI application sent {message['type']} instead of {expected}")
        if self.has_begun:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._begin_response(message["status"], list(message.get("headers", ())))

    def _begin_response(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        fields = dict(headers)
        self.is_endless = fields.get(b"content-type", b"").startswith(b"text/event-stream")
        if b"close" in fields.get(b"connection", b"").lower():
            self.keep_alive = False
            headers.remove((b"connection", fields[b"connection"]))
        if b"content-length" in fields:
            self._left = int(fields[b"content-length"])
        elif self._head.method != "HEAD" and status not in (204, 304):
            self._is_chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        self._unsent = self._asgi_head(status, headers)
        self.has_begun = True

    def _write_body(self, body: bytes, *, more: bool) -> None:
        if self._head.method == "HEAD":  # complete without a body, which can be long or without end
            written, self._left, more = b"", 0, False
        elif self._is_chunked:
            written = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            written, self._left = body, self._left - len(body)
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("the ASGI application sent a body of another length than Content-Length")
        head, self._unsent = self._unsent, b""
        if more:
            self._connection.write(head + written)
        else:
            self._complete(head + written)
            self._news.set()  # an application that waits for the client to disconnect need not wait any more

    def _flush(self) -> None:
        """Write the head of a response whose body will not follow."""
        head, self._unsent = self._unsent, b""
        self._connection.write(head)


def refusing(status: int, text: str) -> ASGIApp:
    """Return an ASGI application that refuses a request and closes the connection."""

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    return application


def request_ids() -> Iterator[str]:
    """Yield unique request ids in the form of UUIDs. Unlike a resource id, a request id may be guessable."""
    of_server = str(uuid.uuid4())[:24]
    for number in itertools.count(1):
        yield f"{of_server}{number:012x}"
