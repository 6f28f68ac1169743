"""The TLS handshake on an existing connection, as client or server, either after STARTTLS or right after connecting."""

import asyncio
import ssl
from typing import cast

from msgspec import Struct

from waypost.net.deadlines import Deadline
from waypost.net.tls_alerts import start_tls


class Upgraded(Struct, frozen=True):
    """The result of a successful TLS handshake."""

    transport: asyncio.Transport
    """The TLS transport that replaces the connection's original transport."""
    tls: ssl.SSLObject
    said: bytes
    """The bytes that the peer has already sent over TLS."""


class TlsUpgrade:
    """One TLS handshake. Until the handshake has ended, the connection forwards its events to this object."""

    def __init__(self, transport: asyncio.Transport, *, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        """`grace` is how many seconds a handshake may take to report its error after the connection is lost."""
        self._transport = transport
        self._loop = loop
        self._grace = grace
        self._task: asyncio.Task[asyncio.Transport | None] | None = None
        self._deadline = Deadline()
        self._before = b""
        """The bytes of the handshake that were received before TLS took over the transport."""
        self._within = b""
        """The bytes that the peer sends over TLS before this side notices that the handshake is complete."""
        self._is_cancelled = False
        self.has_transport = False
        """Whether TLS has taken over the transport, so that the connection now receives only decrypted data."""
        self.error: BaseException | None = None
        """The reason why the handshake failed; None if it was cancelled or the connection was lost."""

    async def make(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        *,
        seconds: float,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> Upgraded | None:
        """Perform the handshake for `protocol` within `seconds`.

        Returns None if the handshake failed; `error` may then contain the reason.
        """
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
            await asyncio.sleep(0)  # the task takes over the transport in its first step
            self._hand_over()
            # The loop limits the handshake's time, unless the peer disconnects before TLS takes over the transport.
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
        if transport and self._is_cancelled:  # cancelled in the previous loop iteration, after the handshake was done
            transport.abort()
            return None
        tls = transport.get_extra_info("ssl_object") if transport else None
        return Upgraded(transport, tls, self._within) if transport and tls else None

    def receive(self, octets: bytes) -> None:
        """Accept bytes that the connection received during the handshake."""
        if self.has_transport:
            self._within += octets
        else:
            self._before += octets

    def connection_lost(self) -> None:
        """Handle the loss of the connection: cancel the handshake unless it ends by itself within `grace` seconds."""
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
        """Give the handshake the bytes that were received before TLS took over the transport."""
        self.has_transport = True
        octets, self._before = self._before, b""
        if octets:
            protocol = cast(asyncio.BufferedProtocol, self._transport.get_protocol())  # true of asyncio and uvloop
            self._loop.call_soon(_feed, protocol, octets)


def _feed(protocol: asyncio.BufferedProtocol, octets: bytes) -> None:
    while octets:
        buffer = memoryview(protocol.get_buffer(len(octets)))
        size = min(len(buffer), len(octets))
        buffer[:size] = octets[:size]
        protocol.buffer_updated(size)
        octets = octets[size:]


def describe(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Return a connection's TLS version and cipher, in the form used in Received fields and in the trace."""
    cipher = connection.cipher()
    return f"{connection.version()} {cipher[0] if cipher else 'no cipher'}"
