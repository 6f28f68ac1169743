"""The PROXY protocol, version 2: a load balancer uses it to send the client's address at the start of a connection.

The server requires the header from load balancers in the networks that a setting lists, and refuses it from all other
networks. This module reads only the header, and leaves all further bytes, such as a TLS handshake, to the connection.
Source: "The PROXY protocol", versions 1 and 2 (HAProxy Technologies), section 2.2.
"""

import asyncio
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import cast

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

HEAD = struct.Struct("!12sBBH")
"""The first 16 bytes of a header: the signature, version and command, family and transport, and remaining length."""

ADDRESSES_LIMIT = 4_096
"""The maximum number of bytes that may follow the first 16 bytes of a header.

The addresses take up at most 36 bytes. All further bytes are extensions, which the server ignores.
"""

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_UNSPECIFIED, _UNIX = 0x00, 0x31


class BadHeader(Exception):
    """Raised, with the reason, if a connection does not begin with a valid header of the PROXY protocol."""


def remaining_length(head: bytes) -> int:
    """Return the number of bytes that follow the first 16 bytes of a header. Raises `BadHeader`."""
    signature, version_and_command, _, length = HEAD.unpack(head)
    if signature != SIGNATURE:
        raise BadHeader("the header does not begin with the signature of version 2")
    if version_and_command not in (_LOCAL, _PROXY):
        raise BadHeader(f"the header has an unknown version or command ({version_and_command:#04x})")
    if length > ADDRESSES_LIMIT:
        raise BadHeader(f"the header has {length} more bytes, but the limit is {ADDRESSES_LIMIT}")
    return int(length)


def client(head: bytes, addresses: bytes) -> str | None:
    """Return the client's IP address.

    Returns None if the load balancer opened the connection on its own behalf, or did not send an IP address. Raises
    `BadHeader`.
    """
    _, version_and_command, family, _ = HEAD.unpack(head)
    if version_and_command == _LOCAL or family in (_UNSPECIFIED, _UNIX):
        return None
    if family == _TCP4 and len(addresses) >= 12:
        return str(IPv4Address(addresses[:4]))
    if family == _TCP6 and len(addresses) >= 36:
        address = IPv6Address(addresses[:16])
        return str(address.ipv4_mapped or address)
    raise BadHeader(f"the header has family {family:#04x} with {len(addresses)} bytes, which is invalid")


class ProxyHeader(asyncio.BufferedProtocol):
    """Reads the PROXY header of a connection and no further bytes, then calls `then` to start the next protocol."""

    def __init__(
        self,
        *,
        seconds: float,
        then: Callable[[str | None], None],
        failed: Callable[[BadHeader], None],
        ended: Callable[["ProxyHeader"], None],
    ) -> None:
        """`then` is called with the client's address if the header is valid; otherwise `failed` is called.

        `ended` is called whether or not the header is valid, and also if the connection is lost.
        """
        self._seconds = seconds
        self._then = then
        self._failed = failed
        self._ended = ended
        self._head = b""
        self._buffer = bytearray(HEAD.size)
        self._filled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(
            self._seconds, self._fail, "the header did not arrive in time"
        )

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < len(self._buffer):
            return
        octets = bytes(self._buffer)
        try:
            if not self._head:
                self._head, self._filled = octets, 0
                self._buffer = bytearray(remaining_length(octets))
                if self._buffer:
                    return
                octets = b""
            address = client(self._head, octets)
        except BadHeader as error:
            self._fail(str(error))
            return
        self._end()
        self._then(address)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def cut(self) -> None:
        """Abort the connection without waiting for the rest of the header, because the server is stopping."""
        self._transport.abort()

    def _fail(self, reason: str) -> None:
        self._end()
        self._transport.abort()
        self._failed(BadHeader(reason))

    def _end(self) -> None:
        self._timer.cancel()
        self._ended(self)
