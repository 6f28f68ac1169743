"""The SMTP server: listens on addresses, keeps track of connections, and logs refused clients."""

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

from waypost.net import certificates as tls
from waypost.observe import events
from waypost.observe.rate_limited_log import RefusedConnections, TlsFailures
from waypost.smtp.backend.backend import Backend
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.server.connection import READ, Connection
from waypost.smtp.server.interfaces import Client, Listener
from waypost.smtp.server.proxy import BadHeader, ProxyHeader

BACKLOG = 1024
"""The maximum number of connections that may wait to be accepted."""


class SmtpServer:
    """An SMTP server that accepts connections on one or more addresses."""

    def __init__(
        self,
        backend: Backend,
        *,
        limits: SmtpLimits,
        certificates: tls.Certificates | None = None,
        proxy_networks: Sequence[IPv4Network | IPv6Network] = (),
        trusted_networks: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """`proxy_networks` contains the networks of load balancers that send the client's address with the PROXY
        protocol.

        `trusted_networks` contains the networks whose clients are trusted.
        """
        self.backend = backend
        self.limits = limits
        self.certificates = certificates
        self._proxy_networks = proxy_networks
        self._trusted_networks = trusted_networks
        self.busy = 0
        """The number of clients whose requests the server is answering now."""
        self.buffer = memoryview(bytearray(READ))
        """The buffer for the input of all clients, which is emptied right after each read."""
        self.headers: set[ProxyHeader] = set()
        """The connections for which no complete PROXY header has been received yet. The addresses of their clients are
        not known.
        """
        self._connections: set[Client] = set()
        self._servers: list[asyncio.Server] = []
        self._refused = RefusedConnections(backend.emit)
        self._tls_failures = TlsFailures(backend.emit, "smtp")
        self._is_stopping = False
        self._all_gone: asyncio.Future[None] | None = None

    def use(self, limits: SmtpLimits, trusted_networks: Sequence[IPv4Network | IPv6Network]) -> None:
        """Use these limits and trusted networks for further connections."""
        self.limits = limits
        self._trusted_networks = trusted_networks
        self.backend.admission.use(limits)

    async def start(self, listener: Listener, bound: socket.socket) -> None:
        """Listen on a socket that is bound to an address. `stop` closes the socket."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._protocol(listener), sock=bound, backlog=BACKLOG)
        self._servers.append(server)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """All addresses and ports on which the server listens. A host name may have several addresses."""
        sockets = [each for server in self._servers for each in server.sockets]
        return [each.getsockname()[:2] for each in sockets]

    async def stop(self) -> None:
        """Stop accepting connections, answer every message that has been received, and close all connections."""
        self._is_stopping = True
        for server in self._servers:
            server.close()
        for header in list(self.headers):
            header.cut()
        for connection in list(self._connections):
            connection.end_session(replies.SHUTTING_DOWN)
        if self._connections:
            self._all_gone = asyncio.get_running_loop().create_future()
            await self._all_gone
        await self.backend.aborted_transfers.stop()
        self._refused.log_rest()
        self._tls_failures.log_rest()

    def opened(self, client: Client) -> Reply | None:
        """Register a new client. Returns the reply that refuses the client, or None if the client is admitted."""
        self._connections.add(client)
        if self._is_stopping:
            return replies.SHUTTING_DOWN
        admission = self.backend.admission
        refusal = admission.enter(client.peer, self.backend.clock(), trusted=client.trusted)
        if refusal:
            self._refused.report(str(refusal), client.peer)
        else:
            self.backend.measures.session_opened(client.listener.name)
        return refusal

    def closed(self, client: Client, *, was_admitted: bool) -> None:
        """Remove a client whose connection has ended."""
        self._connections.discard(client)
        if was_admitted:
            self.backend.admission.leave(client.peer)
            self.backend.measures.session_closed(client.listener.name)
        if self._all_gone and not self._all_gone.done() and not self._connections:
            self._all_gone.set_result(None)

    def session_ended(self, peer: str, reply: Reply, last_error: Reply | None = None) -> None:
        """Log that the server has ended a client's session. `reply` gives the reason."""
        last = str(last_error) if last_error else ""
        self.backend.emit(events.SessionClosed(peer=peer, reply=str(reply), last_error=last))

    def tls_failed(self, peer: str, error: BaseException) -> None:
        """Log that a TLS handshake, or an established TLS connection, failed."""
        self._tls_failures.report(peer, tls.why(error))

    def tls_made(self, version: str) -> None:
        """Count a TLS handshake that succeeded. `version` is the version of TLS."""
        self.backend.measures.tls_made("smtp", version)

    def count_states(self) -> Counter[str]:
        """Return the number of open connections in each state of the session."""
        return Counter(client.state for client in self._connections)

    def _protocol(self, listener: Listener) -> asyncio.BaseProtocol:
        connection = Connection(self, listener)
        return _Front(self, connection) if self._proxy_networks and not listener.trusted else connection

    def is_proxy(self, peer: str) -> bool:
        """Return whether a connection from this IP address must begin with a PROXY header."""
        return _is_in(self._proxy_networks, peer.removeprefix("::ffff:"))

    def trusts(self, peer: str) -> bool:
        """Return whether this IP address of a client is in a network that a setting lists as trusted."""
        return _is_in(self._trusted_networks, peer)

    def proxy_failed(self, peer: str, error: BadHeader) -> None:
        """Log that a connection from a load balancer's network had no valid PROXY header."""
        self.backend.emit(events.ProxyHeaderRefused(peer=peer, reason=str(error)))


def _is_in(networks: Sequence[IPv4Network | IPv6Network], peer: str) -> bool:
    if not networks:
        return False
    address = ip_address(peer)
    return any(address in network for network in networks)


class _Front(asyncio.Protocol):
    """Reads the PROXY header of a load balancer's connection, then passes the transport to the client's connection.

    A connection from any other network has no PROXY header, so its transport is passed to the client's connection
    immediately.
    """

    def __init__(self, server: SmtpServer, connection: Connection) -> None:
        self._server = server
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if name is None:  # the client has already disconnected
            transport.abort()
            return
        peer = name[0]

        def begin_session(address: str | None) -> None:
            transport.set_protocol(self._connection)
            # If there is no address, either the connection is the load balancer's own, or the balancer did not send the
            # client's address. In both cases, the client is not trusted, even if the balancer's network is.
            self._connection.begin(transport, address or peer, can_be_trusted=address is not None)

        if not self._server.is_proxy(peer):
            transport.set_protocol(self._connection)
            self._connection.begin(transport, peer)
            return
        header = ProxyHeader(
            seconds=self._server.limits.handshake,
            then=begin_session,
            failed=lambda error: self._server.proxy_failed(peer, error),
            ended=self._server.headers.discard,
        )
        self._server.headers.add(header)
        transport.set_protocol(header)
        header.connection_made(transport)
