"""The SMTP server: its addresses, its connections, and log events about refused clients."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

from waypost.observe import events
from waypost.smtp.backend.reception import Backend
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.server import tls
from waypost.smtp.server.connection import READ, Connection
from waypost.smtp.server.interfaces import Client, Listener
from waypost.smtp.server.proxy import BadHeader, ProxyHeader

BACKLOG = 1024
"""Connections that may wait to be accepted."""

TELL_EVERY = 10.0
"""Seconds between two log lines about refused clients: there may be thousands a second."""


class SmtpServer:
    """Takes connections on some addresses, and mail on each."""

    def __init__(
        self,
        backend: Backend,
        *,
        limits: SmtpLimits,
        certificates: tls.Certificates | None = None,
        proxy_networks: Sequence[IPv4Network | IPv6Network] = (),
        trusted_networks: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """`proxy_networks`: from there, each connection says by the PROXY protocol who the client is.

        `trusted_networks`: clients there are trusted.
        """
        self.backend = backend
        self.limits = limits
        self.certificates = certificates
        self._proxy_networks = proxy_networks
        self._trusted_networks = trusted_networks
        self.busy = 0
        """Clients whose requests are being answered."""
        self.buffer = memoryview(bytearray(READ))
        """The buffer for input of all clients, which is emptied at once."""
        self.headers: set[ProxyHeader] = set()
        """Connections whose client is not known yet."""
        self._connections: set[Client] = set()
        self._servers: list[asyncio.Server] = []
        self._sent_away: Counter[Reply] = Counter()
        self._is_stopping = False
        self._all_gone: asyncio.Future[None] | None = None

    async def start(self, listener: Listener, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the real address, also for port 0. Raises `OSError` if it is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._protocol(listener), host, port, backlog=BACKLOG)
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return name[0], name[1]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """All addresses on which it listens, with their ports: a host may have several."""
        sockets = [each for server in self._servers for each in server.sockets]
        return [each.getsockname()[:2] for each in sockets]

    async def stop(self) -> None:
        """Accept no more connections, answer every message that was received, and close all connections."""
        self._is_stopping = True
        for server in self._servers:
            server.close()
        for header in list(self.headers):
            header.cut()
        for connection in list(self._connections):
            connection.hang_up(replies.SHUTTING_DOWN)
        if self._connections:
            self._all_gone = asyncio.get_running_loop().create_future()
            await self._all_gone
        await self.backend.aborted_transfers.stop()
        self._tell_of_those_sent_away()

    def opened(self, client: Client) -> Reply | None:
        """A client has connected. Returns why it may not stay, or None."""
        self._connections.add(client)
        if self._is_stopping:
            return replies.SHUTTING_DOWN
        admission = self.backend.admission
        refusal = admission.enter(client.peer, self.backend.clock(), trusted=client.trusted)
        if refusal:
            self._count_one_sent_away(refusal, client.peer)
        return refusal

    def closed(self, client: Client, *, was_admitted: bool) -> None:
        """A client has disconnected, and its resources are released."""
        self._connections.discard(client)
        if was_admitted:
            self.backend.admission.leave(client.peer)
        if self._all_gone and not self._all_gone.done() and not self._connections:
            self._all_gone.set_result(None)

    def hung_up(self, peer: str, reply: Reply, last_error: Reply | None = None) -> None:
        """The server has ended a client's session, for the reason in the reply."""
        told = str(last_error) if last_error else ""
        self.backend.emit(events.SessionClosed(peer=peer, reply=str(reply), last_error=told))

    def tls_failed(self, peer: str, error: BaseException) -> None:
        """A handshake failed, or TLS did later."""
        self.backend.emit(events.TlsFailed(peer=peer, reason=tls.why(error)))

    def _protocol(self, listener: Listener) -> asyncio.BaseProtocol:
        connection = Connection(self, listener)
        return _Front(self, connection) if self._proxy_networks and not listener.trusted else connection

    def is_proxy(self, peer: str) -> bool:
        """Whether a connection from there says by the PROXY protocol who the client is."""
        return _is_in(self._proxy_networks, peer.removeprefix("::ffff:"))

    def trusts(self, peer: str) -> bool:
        """Whether a setting names the network of this client."""
        return _is_in(self._trusted_networks, peer)

    def proxy_failed(self, peer: str, error: BadHeader) -> None:
        """A connection from such a network had no valid PROXY header."""
        self.backend.emit(events.ProxyHeaderRefused(peer=peer, reason=str(error)))

    def _count_one_sent_away(self, reply: Reply, peer: str) -> None:
        if not self._sent_away:
            asyncio.get_running_loop().call_later(TELL_EVERY, self._tell_of_those_sent_away)
        self._sent_away[reply] += 1
        self._last_sent_away = peer

    def _tell_of_those_sent_away(self) -> None:
        for reply, count in self._sent_away.items():
            self.backend.emit(events.ConnectionsRefused(reply=str(reply), count=count, peer=self._last_sent_away))
        self._sent_away.clear()


def _is_in(networks: Sequence[IPv4Network | IPv6Network], peer: str) -> bool:
    if not networks:
        return False
    address = ip_address(peer)
    return any(address in network for network in networks)


class _Front(asyncio.Protocol):
    """Reads the PROXY header before a connection, until the client is known."""

    def __init__(self, server: SmtpServer, connection: Connection) -> None:
        self._server = server
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if name is None:  # the client is gone already
            transport.abort()
            return
        peer = name[0]

        def goes_on(address: str | None) -> None:
            transport.set_protocol(self._connection)
            # Without an address it is the balancer's own connection, or that of a client it does not name. So it is
            # not trusted, also where the balancer's network is.
            self._connection.begin(transport, address or peer, can_be_trusted=address is not None)

        if not self._server.is_proxy(peer):
            transport.set_protocol(self._connection)
            self._connection.begin(transport, peer)
            return
        header = ProxyHeader(
            seconds=self._server.limits.handshake,
            then=goes_on,
            failed=lambda error: self._server.proxy_failed(peer, error),
            ended=self._server.headers.discard,
        )
        self._server.headers.add(header)
        transport.set_protocol(header)
        header.connection_made(transport)
