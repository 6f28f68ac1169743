"""uvicorn, inside our loop and within bounds: what a stranger may send before we know who it is."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_OCTETS = 64 * 1024
"""Request line and headers. AWS SDKs send about one thousand octets."""

HEAD_SECONDS = 30.0
"""From the connection, or the first octet of a further request, to the end of its headers."""

_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which knows no bounds for the part before the body."""

    _deadline: asyncio.TimerHandle | None = None
    """Runs while a head is being read."""
    _head_octets = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def data_received(self, data: bytes) -> None:
        if self._deadline:
            self._head_octets += len(data)
        super().data_received(data)
        if self._deadline and self._head_octets > HEAD_OCTETS and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def _begin_head(self) -> None:
        if not self._deadline:
            self._head_octets = 0
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _end_head(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


class HttpServer(uvicorn.Server):
    """uvicorn inside our loop: it leaves the signals to us."""

    def __init__(self, application: ASGIApp) -> None:
        config = uvicorn.Config(
            application,
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

    async def stop(self) -> None:
        """Answer what has been asked, and close."""
        self.should_exit = True
        await self._serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Called by uvicorn, which would take the signals."""
        yield
