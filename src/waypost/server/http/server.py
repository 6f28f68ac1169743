"""The HTTP server: uvicorn inside Waypost's event loop, with a check that requests are valid HTTP.

This module uses names that are not part of uvicorn's public interface. `tests/test_library_internals.py` lists the
internal names that Waypost uses, and `pyproject.toml` sets an upper bound on the version of uvicorn because of them.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Iterator
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from waypost.app import ports
from waypost.observe import events
from waypost.observe.tasks import OnError, Tasks
from waypost.server.http.connection import HttpConnection
from waypost.server.http.limits import HttpAdmission, HttpBounds

TICK_SECONDS = 0.1
"""Seconds between two calls of uvicorn's `on_tick`, which updates the Date header on every tenth call."""

TICKS_A_SECOND = 10

_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.]+\])(:[0-9]*)?")
"""The value of a Host field (RFC 9110 section 7.2): a host name or IP address, and optionally a port."""


def refusal(scope: Scope) -> tuple[int, str] | None:
    """Check that a request is valid HTTP. Return the status and text of the refusal, or None if the request is valid.

    The parser has already refused every request that it cannot parse, such as a request with two body lengths.
    Source: RFC 9110 section 15.6.6 (version), RFC 9112 sections 3.2 (Host) and 6.1 (Transfer-Encoding).
    """
    version, headers = scope["http_version"], scope["headers"]
    names = [name for name, _ in headers]
    hosts, codings = names.count(b"host"), names.count(b"transfer-encoding")
    host = headers[names.index(b"host")][1] if hosts else b""
    is_connect = scope["method"] == "CONNECT"
    if version == "1.1" and hosts == 1 and not codings and not is_connect and _HOST.fullmatch(host):  # common case
        return None
    if version not in ("1.1", "1.0"):
        return 505, f"This server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{version}."
    if hosts > 1:
        return 400, "The request has more than one Host header."
    if not hosts and version == "1.1":
        return 400, "The request has no Host header, which HTTP/1.1 requires."
    if not _HOST.fullmatch(host.strip(b" \t")):
        return 400, "The Host header is not a host name or an IP address, with or without a port."
    if is_connect:
        return 501, "This server is not a proxy, so it does not support the CONNECT method."
    if codings and version == "1.0":
        return 400, "The request has a Transfer-Encoding header, which HTTP/1.0 does not support."
    if codings > 1 or (codings and headers[names.index(b"transfer-encoding")][1].strip(b" \t").lower() != b"chunked"):
        return 501, "The only transfer coding that this server supports is chunked."
    return None


def only_well_formed(application: ASGIApp) -> ASGIApp:
    """Return an ASGI application that passes valid HTTP requests to `application`, and refuses all other requests. The
    server closes the connection after a refusal.
    """

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
    """uvicorn's server, which runs inside Waypost's event loop, and leaves the process's signals to Waypost."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        bounds: HttpBounds | None = None,
        emit: events.Emit = lambda _: None,
        tasks: Tasks,
        limit_state: ports.LimitState,
        ticks_a_second: int = TICKS_A_SECOND,
    ) -> None:
        """`ticks_a_second` is the number of ticks that count as one second for the limits on clients."""
        self._admission = HttpAdmission(bounds or HttpBounds(), emit, limit_state)
        self._tasks = tasks
        self._ticks_a_second = ticks_a_second
        config = uvicorn.Config(
            only_well_formed(application),
            interface="asgi3",
            http=cast(Any, partial(HttpConnection, admission=self._admission)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # otherwise, a client on loopback could claim another address
            timeout_graceful_shutdown=10,
        )
        super().__init__(config)
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()

    async def start(self, bound: socket.socket) -> None:
        """Listen on a socket that is bound to an address. `stop` closes the socket."""
        serve = partial(self.serve, sockets=[bound])
        self._serving = self._tasks.start(serve, where="http", on_error=OnError.END_SERVER)
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([self._serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            ready.cancel()
            raise RuntimeError("The HTTP server ended before it was ready. The log contains the reason.")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server in the way that uvicorn does, then let `start` return. The uvicorn library calls this
        method.
        """
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        """Call uvicorn's `on_tick` ten times a second until `stop` is called. The uvicorn library calls this method.

        The main loop that uvicorn provides would not end immediately when `stop` is called, but only at its next tick.
        """
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            if ticks % self._ticks_a_second == 0:
                self.second_passed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    def second_passed(self) -> None:
        """End the connections of clients that have taken too long, and log refusals. The main loop calls this method
        once a second.
        """
        for connection in list(self.server_state.connections):
            cast(HttpConnection, connection).check_time()
        self._admission.second_passed()

    async def stop(self) -> None:
        """Complete the requests that have arrived, then close all connections."""
        self.should_exit = True
        self._stopping.set()
        await self._serving
        self._admission.log_refused()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to Waypost. The uvicorn library calls this method instead of its own, which would
        handle the signals.
        """
        yield
