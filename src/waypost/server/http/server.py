"""The HTTP server, which runs on Waypost's event loop."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Collection

from starlette.types import ASGIApp

from waypost.app import ports
from waypost.app.ports.failures import STORE_FAILURES
from waypost.net.certificates import Certificates
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.measures import Measures
from waypost.observe.rate_limited_log import TlsFailures
from waypost.observe.tasks import OnError, Tasks
from waypost.server.http import heads
from waypost.server.http.connection import HttpConnection, Shared
from waypost.server.http.exchanges import Calls
from waypost.server.http.limits import HttpAdmission, HttpBounds
from waypost.server.http.tls import TlsStart
from waypost.server.sockets import BACKLOG

TICK_SECONDS = 0.1
"""The number of seconds between two ticks of the main loop."""

TICKS_A_SECOND = 10

SHUTDOWN_SECONDS = 10.0
"""The maximum time in seconds for which a server that stops waits for the responses in progress."""

_POLL_SECONDS = 0.02


class HttpServer:
    """A listener for HTTP requests: calls of the API, and requests to an ASGI application."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        prefixes: tuple[str, ...] = (),
        landings: Collection[str] = (),
        calls: Calls | None = None,
        bounds: HttpBounds | None = None,
        emit: events.Emit = lambda _: None,
        tasks: Tasks,
        limit_state: ports.LimitState,
        certificates: Certificates | None = None,
        measures: Measures | None = None,
        ticks_a_second: int = TICKS_A_SECOND,
    ) -> None:
        """`application` answers the requests for paths that begin with one of `prefixes`, and `calls` answers all
        others. If `calls` is None, `application` answers all requests.

        `application` also answers a GET request for a path in `landings` if a person's browser sends it: if the request
        accepts HTML, and has no signature.

        `certificates` are the certificates for addresses with HTTPS, if there are any.

        `ticks_a_second` is the number of ticks that count as one second for the limits on clients.
        """
        self._admission = HttpAdmission(bounds or HttpBounds(), emit, limit_state)
        self.shared = Shared(
            application=application,
            prefixes=prefixes,
            landings=frozenset(landings),
            calls=calls,
            admission=self._admission,
            incidents=Incidents(emit, of_store=STORE_FAILURES),
        )
        self.certificates = certificates
        self._measures = measures or Measures()
        self._tls_failures = TlsFailures(emit, "http")
        self._tasks = tasks
        self._ticks_a_second = ticks_a_second
        self._stopping = asyncio.Event()
        self._listeners: list[asyncio.Server] = []
        self._ticking: asyncio.Task[None] | None = None

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self.shared.connections)

    def use(self, bounds: HttpBounds) -> None:
        """Use these limits for further connections."""
        self._admission.use(bounds)

    async def start(self, bound: socket.socket) -> None:
        """Listen for HTTP on a socket that is bound to an address. `stop` closes the socket."""
        await self._listen(bound, lambda: HttpConnection(self.shared))

    async def start_tls(self, bound: socket.socket) -> None:
        """Listen for HTTPS on a socket that is bound to an address. `stop` closes the socket."""
        certificates = self.certificates
        assert certificates
        await self._listen(bound, lambda: TlsStart(self.shared, certificates, self._measures, self._tls_failures))

    async def _listen(self, bound: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(protocol, sock=bound, backlog=BACKLOG)
        self._listeners.append(listener)
        if self._ticking is None:
            self._ticking = self._tasks.start(self.main_loop, where="http", on_error=OnError.END_SERVER)

    async def main_loop(self) -> None:
        """Count the seconds for the clients, and update the Date field, until `stop` is called."""
        ticks = 0
        while not self._stopping.is_set():
            if ticks % TICKS_A_SECOND == 0:
                self.shared.date = heads.date()
            ticks += 1
            if ticks % self._ticks_a_second == 0:
                self.second_passed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    def second_passed(self) -> None:
        """End the connections of clients that have taken too long. The main loop calls this method once a second."""
        for connection in list(self.shared.connections):
            connection.check_time()

    async def stop(self) -> None:
        """Complete the requests that have arrived, for at most `SHUTDOWN_SECONDS`, then close all connections."""
        self._stopping.set()
        for listener in self._listeners:
            listener.close()
        shared = self.shared
        for connection in list(shared.connections):
            connection.shut_down()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        # An event instead of this loop would take time in every call.
        while (shared.connections or shared.running) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        for exchange in list(shared.running):
            exchange.cancel()
        for connection in list(shared.connections):
            connection.transport.abort()
        if self._ticking:
            await self._ticking
        for listener in self._listeners:
            await listener.wait_closed()
        self._admission.refused.log_rest()
        self._tls_failures.log_rest()
