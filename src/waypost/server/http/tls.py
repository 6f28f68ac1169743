"""The beginning of a connection to an HTTPS address: admission and the TLS handshake, then the HTTP connection."""

import asyncio
from http import HTTPStatus
from typing import cast

from waypost.net import certificates
from waypost.net.certificates import Certificates
from waypost.net.tls_upgrade import TlsUpgrade
from waypost.observe.measures import Measures
from waypost.observe.rate_limited_log import TlsFailures
from waypost.server.http import heads
from waypost.server.http.connection import HttpConnection, Shared

PROTOCOLS = ("http/1.1",)
"""The protocols that the server offers to a client (ALPN, RFC 7301). There is no HTTP/2."""

NOT_TLS = "This port expects HTTPS. Use a URL that begins with https://."

_HANDSHAKE = 0x16
"""The first byte of a TLS connection: the content type of a handshake record (RFC 8446 section 5.1)."""


class TlsStart(asyncio.Protocol):
    """A connection to an HTTPS address until its TLS handshake is complete.

    The connection counts as an HTTP connection from its first moment, so that handshakes cannot use more resources than
    the limits on connections allow. A refused client gets no response, which it could read only after a handshake.
    """

    def __init__(self, shared: Shared, served: Certificates, measures: Measures, failures: TlsFailures) -> None:
        """`served` are the certificates of the server."""
        self._shared = shared
        self._served = served
        self._measures = measures
        self._failures = failures
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self._peer = ""
        self._is_admitted = False
        """Whether the connection is counted, and this object must end the count."""
        self._upgrade: TlsUpgrade | None = None
        self._task: asyncio.Task[None] | None = None
        self._seconds = 0
        self._is_over = False

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit or refuse a client that has connected. The event loop calls this method."""
        self.transport = cast("asyncio.Transport", transport)
        self._shared.connections.add(self)
        name = transport.get_extra_info("peername")
        if name is None:  # the client has already disconnected
            self.abort()
            return
        self._peer = name[0]
        if self._shared.admission.enter(self._peer) is not None:
            self.abort()
            return
        self._is_admitted = True

    def data_received(self, data: bytes) -> None:
        """Begin the handshake with the first bytes of the client. The event loop calls this method."""
        if self._is_over:
            return
        if self._upgrade is None:
            if data[0] != _HANDSHAKE:
                self._refuse(data)
                return
            self._upgrade = TlsUpgrade(self.transport, loop=self._loop, grace=self._shared.admission.bounds.linger)
            self._task = self._loop.create_task(self._shake_hands(self._upgrade))
        self._upgrade.receive(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Release everything that the connection has used. The event loop calls this method."""
        self._is_over = True
        self._leave()
        if self._upgrade:
            self._upgrade.connection_lost()

    # For the server

    def check_time(self) -> None:
        """End the connection if the client has taken too long. The server calls this method once a second."""
        self._seconds += 1
        limit = self._shared.admission.bounds.linger if self._is_over else self._limit
        if self._seconds > limit:
            self.abort()

    def shut_down(self) -> None:
        """Close the connection, because the server stops."""
        self.abort()

    def abort(self) -> None:
        """Close the connection immediately."""
        self._is_over = True
        if self._upgrade:
            self._upgrade.cancel()
        self.transport.abort()

    # The handshake

    @property
    def _limit(self) -> float:
        admission = self._shared.admission
        return admission.bounds.handshake_time(is_crowded=admission.is_crowded)

    async def _shake_hands(self, upgrade: TlsUpgrade) -> None:
        made = await upgrade.make(self, self._served.context, seconds=self._limit, server_side=True)
        self._upgrade = None
        if made is None:
            if upgrade.error:  # there is none if the handshake was cancelled
                self._log_failure(certificates.why(upgrade.error))
            self.abort()
            self._leave()
            return
        self._measures.tls_made("http", made.tls.version() or "")
        if self._is_over or made.transport.is_closing():
            made.transport.abort()
            self._leave()
            return
        connection = HttpConnection(self._shared, under=self.transport, peer=self._peer)
        self._shared.connections.discard(self)
        self._is_admitted = False  # now, the other object ends the count
        made.transport.set_protocol(connection)
        connection.connection_made(made.transport)
        if made.said:
            connection.data_received(made.said)

    def _refuse(self, data: bytes) -> None:
        """Close the connection of a client that does not begin a handshake. A client of HTTP gets the reason."""
        self._is_over = True
        self._seconds = 0
        self._log_failure("the client did not begin a TLS handshake")
        if data[:1].isalpha():
            self.transport.write(heads.refused(HTTPStatus.BAD_REQUEST, NOT_TLS))
        self.transport.close()

    def _log_failure(self, reason: str) -> None:
        self._failures.report(self._peer, reason)

    def _leave(self) -> None:
        self._shared.connections.discard(self)
        if self._is_admitted:
            self._is_admitted = False
            self._shared.admission.leave(self._peer)
