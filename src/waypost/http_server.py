"""uvicorn, inside our loop, within bounds for what a stranger may send, and with one write an answer.

Some of what is used here is not part of uvicorn's public interface: `tests/test_library_internals.py` lists it, and
`pyproject.toml` has an upper bound for that reason.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_OCTETS = 64 * 1024
"""Request line and headers. AWS SDKs send about one thousand octets."""

REST_OCTETS = 1024 * 1024
"""All that follows the head: the body, which the application bounds more tightly, its chunks, and trailers."""

TICK_SECONDS = 0.1
"""Between two of uvicorn's looks at the clock. Ten of them make a new Date header."""

HEAD_SECONDS = 30.0
"""From the connection, or the first octet of a further request, to the end of its headers."""

_FINAL_HEAD = re.compile(rb"HTTP/1\.1 [2-5]")
"""The beginning of an answer; `100 Continue` is none, and somebody waits for it."""

_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


_NAMES = tuple(
    (f"\r\n{name.lower()}: ".encode(), f"\r\n{name}: ".encode())
    for name in ("Date", "Content-Type", "Content-Length", "Connection", "x-amzn-RequestId", "x-amzn-ErrorType")
)


_CLOSING = b"\r\nConnection: close"
_REQUEST_ID = b"\r\nx-amzn-RequestId: "
_KEPT_ALIVE = b"\r\nConnection: keep-alive" + _REQUEST_ID


def _as_aws_writes(head: bytes) -> bytes:
    """The head of an answer as AWS's documentation has it.

    uvicorn makes small letters of all names, and says of a connection only that it ends.
    """
    for small, ours in _NAMES:
        head = head.replace(small, ours, 1)
    if _CLOSING not in head:
        head = head.replace(_REQUEST_ID, _KEPT_ALIVE, 1)
    return head


class _OneWrite:
    """A transport that holds the head of an answer back until its body comes, and sends both as one.

    uvicorn writes them one by one, which is two packets, and wakes the client twice.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, octets: bytes) -> None:
        if _FINAL_HEAD.match(octets) and not self._head:
            self._head = _as_aws_writes(octets)
        else:
            self._transport.write(self._head + octets)
            self._head = b""

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with bounds for the part before the body, which it has none for."""

    _deadline: asyncio.TimerHandle | None = None
    """Runs while a head is being read."""
    _head_octets = 0
    _rest_octets = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._writer = _OneWrite(transport)
        super().connection_made(cast(asyncio.Transport, self._writer))
        self._begin_head()

    def data_received(self, data: bytes) -> None:
        if self._deadline:
            self._head_octets += len(data)
        else:
            self._rest_octets += len(data)
            if self._rest_octets > REST_OCTETS:  # the application has answered long ago, or waits for trailers
                self.transport.abort()
                return
        super().data_received(data)
        if self._deadline and self._head_octets > HEAD_OCTETS and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._begin_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._deadline:  # else it is a trailer, which nobody has asked for and nothing may depend on
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._writer.flush()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def _begin_head(self) -> None:
        if not self._deadline:
            self._head_octets = self._rest_octets = 0
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _end_head(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.]+\])(:[0-9]*)?")
"""The value of a Host field (RFC 9110 section 7.2): a name, an IPv4 address or an IPv6 address, and perhaps a port."""


def refusal(scope: Scope) -> tuple[int, str] | None:
    """Why a request is refused for its HTTP form, as status and text; None if its form is right.

    The parser has already refused what it cannot read, such as a body with two lengths. Source: RFC 9110 section
    15.6.6 (version), RFC 9112 sections 3.2 (Host) and 6.1 (Transfer-Encoding).
    """
    version, headers = scope["http_version"], scope["headers"]
    names = [name for name, _ in headers]
    hosts, codings = names.count(b"host"), names.count(b"transfer-encoding")
    host = headers[names.index(b"host")][1] if hosts else b""
    if version == "1.1" and hosts == 1 and not codings and _HOST.fullmatch(host):  # as nearly always
        return None
    if version not in ("1.1", "1.0"):
        return 505, f"This server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{version}."
    if hosts > 1:
        return 400, "The request has more than one Host header."
    if not hosts and version == "1.1":
        return 400, "The request has no Host header, which HTTP/1.1 needs."
    if not _HOST.fullmatch(host.strip(b" \t")):
        return 400, "The Host header is not a host name or an IP address, with or without a port."
    if codings and version == "1.0":
        return 400, "The request has a Transfer-Encoding header, which HTTP/1.0 does not have."
    if codings > 1 or (codings and headers[names.index(b"transfer-encoding")][1].strip(b" \t").lower() != b"chunked"):
        return 501, "The only transfer coding that this server takes is chunked."
    return None


def only_well_formed(application: ASGIApp) -> ASGIApp:
    """The application, behind a check of the HTTP form of each request. A refusal closes the connection."""

    def checked(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        refused = refusal(scope)
        return application(scope, receive, send) if refused is None else _refuse(send, *refused)

    return checked


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


class HttpServer(uvicorn.Server):
    """uvicorn inside our loop: it leaves the signals to us."""

    def __init__(self, application: ASGIApp) -> None:
        config = uvicorn.Config(
            only_well_formed(application),
            interface="asgi3",
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # or a client on loopback could say it is someone else
            timeout_graceful_shutdown=10,
        )
        super().__init__(config)
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the real address, also for port 0. Raises `OSError` if it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
        self._serving = asyncio.create_task(self.serve(sockets=[listener]))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([self._serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            ready.cancel()
            self._serving.result()
        address: tuple[str, int] = listener.getsockname()[:2]
        return address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn; tells `start` when it is done."""
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        """Called by uvicorn, which would look but ten times a second whether it is to stop."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    async def stop(self) -> None:
        """Answer what has been asked, and close."""
        self.should_exit = True
        self._stopping.set()
        await self._serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Called by uvicorn, which would take the signals."""
        yield
