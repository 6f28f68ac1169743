"""The TLS handshake on an existing connection, on either side: after STARTTLS, or at once."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import cast

from waypost.net.deadlines import Deadline
from waypost.net.tls_alerts import start_tls


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The result of a handshake."""

    transport: asyncio.Transport
    """Replaces the connection's transport."""
    tls: ssl.SSLObject
    said: bytes
    """What the peer has already sent over TLS."""


class TlsUpgrade:
    """One handshake. Until the handshake has ended, the connection forwards its events to this object."""

    def __init__(self, transport: asyncio.Transport, *, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        """`grace`: seconds in which a handshake whose connection is lost can still say why it failed."""
        self._transport = transport
        self._loop = loop
        self._grace = grace
        self._task: asyncio.Task[asyncio.Transport | None] | None = None
        self._deadline = Deadline()
        self._before = b""
        """The beginning of the handshake, as far as it was read before the transport was taken over."""
        self._within = b""
        """What the peer sends over TLS before this side learns that the handshake was made."""
        self._is_cancelled = False
        self.has_transport = False
        """Whether the transport was taken over, so that the connection gets only data of TLS."""
        self.error: BaseException | None = None
        """Why it failed; None also if it was cancelled, or the connection was lost."""

    async def make(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        *,
        seconds: float,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> Upgraded | None:
        """Make the handshake in so many seconds, for this protocol. None if it failed: `error` may say why."""
        if self._transport.is_closing():
            return None
        task = self._task = self._loop.create_task(
            start_tls(
                self._transport,
                protocol,
                context,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=self._grace,
            )
        )
        try:
            await asyncio.sleep(0)  # in its first step it takes the transport over
            self._hand_over()
            # The loop bounds the handshake; but not where the peer is gone before it has taken the transport over.
            _, late = await asyncio.wait([task], timeout=seconds + self._grace)
            if late:
                self.error = TimeoutError()
        finally:
            self._deadline.clear()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if task.cancelled():
            return None
        self.error = task.exception()
        transport = None if self.error else task.result()
        if transport and self._is_cancelled:  # after it was made, in the turn of the loop before this one
            transport.abort()
            return None
        tls = transport.get_extra_info("ssl_object") if transport else None
        return Upgraded(transport, tls, self._within) if transport and tls else None

    def receive(self, octets: bytes) -> None:
        """Octets that the connection has received meanwhile."""
        if self.has_transport:
            self._within += octets
        else:
            self._before += octets

    def connection_lost(self) -> None:
        """The connection is lost. The handshake may say why it failed, if it does so soon."""
        if self._task:
            self._deadline.set(self._loop, self._grace, self._task.cancel)

    def cancel(self) -> None:
        """Cancel the handshake."""
        self._is_cancelled = True
        if self._task:
            self._task.cancel()
        else:
            self._transport.abort()

    def _hand_over(self) -> None:
        """Pass the octets that were read before to the handshake."""
        self.has_transport = True
        octets, self._before = self._before, b""
        if octets:
            protocol = cast(asyncio.BufferedProtocol, self._transport.get_protocol())  # of asyncio and of uvloop
            self._loop.call_soon(_feed, protocol, octets)


def _feed(protocol: asyncio.BufferedProtocol, octets: bytes) -> None:
    while octets:
        buffer = memoryview(protocol.get_buffer(len(octets)))
        size = min(len(buffer), len(octets))
        buffer[:size] = octets[:size]
        protocol.buffer_updated(size)
        octets = octets[size:]


def describe(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Version and cipher of a connection, as they stand in Received lines and the trace."""
    cipher = connection.cipher()
    return f"{connection.version()} {cipher[0] if cipher else 'without cipher'}"
