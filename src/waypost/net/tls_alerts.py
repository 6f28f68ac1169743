"""TLS handshakes that, if they fail, send the peer an alert with the reason before the connection is closed.

OpenSSL writes the alert (RFC 8446 section 6.2) into one of the event loop's buffers. Some event loops (uvloop, and
asyncio before the fix for python/cpython#98078) close the connection without sending this buffer. Without the alert,
the peer does not learn why the connection was closed. This module sends the alert as soon as OpenSSL has written it.
"""

import asyncio
import os
import ssl
from contextlib import suppress
from typing import Any, cast


async def start_tls(
    transport: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, **options: Any
) -> asyncio.Transport | None:
    """Call `loop.start_tls`, and send a TLS alert to the peer if the handshake fails.

    This function takes the same arguments as `loop.start_tls`, and raises the same exceptions.
    """
    context.sslobject_class = _Handshaking
    of_transport = cast(ssl.SSLContext, _ContextOfTransport(context, transport))
    return await asyncio.get_running_loop().start_tls(transport, protocol, of_transport, **options)


class _Handshaking(ssl.SSLObject):
    """The TLS state of one connection. OpenSSL writes to `outgoing` the bytes that must be sent over `transport`."""

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
        self.transport = None  # breaks the reference cycle with the transport

    def _send_alert(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return  # a peer that has not read the earlier bytes would not read the alert either
        alert = self.outgoing.read()
        if alert:
            # The transport cannot send the alert: it is aborted next, and drops the bytes that it has not sent.
            with suppress(OSError):
                os.write(transport.get_extra_info("socket").fileno(), alert)


class _ContextOfTransport:
    """An SSL context that knows its connection's transport, which the event loop does not pass to SSL contexts."""

    __class__ = ssl.SSLContext  # type: ignore[assignment]  # the event loop checks the type

    def __init__(self, context: ssl.SSLContext, transport: asyncio.Transport) -> None:
        self._context = context
        self._transport = transport

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        made = cast(_Handshaking, self._context.wrap_bio(incoming, outgoing, *args, **options))
        made.outgoing, made.transport = outgoing, self._transport
        return made
