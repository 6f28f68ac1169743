"""TLS handshakes that tell the peer why they fail: the alert is sent before the connection is closed.

OpenSSL writes the alert (RFC 8446 section 6.2) into a buffer of the event loop. asyncio, before its fix of
python/cpython#98078, and uvloop close the connection without sending what is there, so the peer sees a connection that
ends and no reason. Here the alert is sent as soon as OpenSSL has written it.
"""

import asyncio
import os
import ssl
from contextlib import suppress
from typing import Any, cast


async def start_tls(
    transport: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, **options: Any
) -> asyncio.Transport | None:
    """`loop.start_tls`, with the same arguments and the same errors, that sends the alert if the handshake fails."""
    context.sslobject_class = _Handshaking
    of_transport = cast(ssl.SSLContext, _ContextOfTransport(context, transport))
    return await asyncio.get_running_loop().start_tls(transport, protocol, of_transport, **options)


class _Handshaking(ssl.SSLObject):
    """TLS of one connection. OpenSSL writes what is to be sent over `transport` to `outgoing`."""

    outgoing: ssl.MemoryBIO
    transport: asyncio.Transport | None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self._send_alert()
            raise
        self.transport = None  # which refers to this object, too

    def _send_alert(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return  # a peer that has not read what comes before the alert would not read the alert either
        alert = self.outgoing.read()
        if alert:
            # Not by the transport: it is aborted next, and drops what it has not sent by then.
            with suppress(OSError):
                os.write(transport.get_extra_info("socket").fileno(), alert)


class _ContextOfTransport:
    """A context as the loop uses it, for one connection: the loop does not tell a context for which one it is."""

    __class__ = ssl.SSLContext  # type: ignore[assignment]  # the loop asks whether it is one

    def __init__(self, context: ssl.SSLContext, transport: asyncio.Transport) -> None:
        self._context = context
        self._transport = transport

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        made = cast(_Handshaking, self._context.wrap_bio(incoming, outgoing, *args, **options))
        made.outgoing, made.transport = outgoing, self._transport
        return made
