"""The PROXY protocol, version 2: a load balancer sends the address of the real client at the beginning of a connection.

It is required from the networks that the settings name, and refused from all others. Exactly the octets of the header
are read, so that what follows, such as a TLS handshake, is left to the connection. Source: "The PROXY protocol",
versions 1 and 2 (HAProxy Technologies), section 2.2.
"""

import asyncio
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import cast

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

HEAD = struct.Struct("!12sBBH")
"""Signature, version and command, family and transport, octets that follow."""

ADDRESSES_LIMIT = 4_096
"""Octets that may follow; addresses have 36 at most, the rest are extensions, which are ignored."""

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_UNSPECIFIED, _UNIX = 0x00, 0x31


class BadHeader(Exception):
    """The octets are not a usable header of the PROXY protocol. The message says why."""


def octets_to_come(head: bytes) -> int:
    """How many octets follow the first 16. Raises `BadHeader`."""
    signature, version_and_command, _, length = HEAD.unpack(head)
    if signature != SIGNATURE:
        raise BadHeader("it does not begin with the signature of version 2")
    if version_and_command not in (_LOCAL, _PROXY):
        raise BadHeader(f"it has version and command {version_and_command:#04x}")
    if length > ADDRESSES_LIMIT:
        raise BadHeader(f"{length} octets follow, and {ADDRESSES_LIMIT} may")
    return int(length)


def client(head: bytes, addresses: bytes) -> str | None:
    """The client's IP address; None if the connection is the balancer's own. Raises `BadHeader`."""
    _, version_and_command, family, _ = HEAD.unpack(head)
    if version_and_command == _LOCAL or family in (_UNSPECIFIED, _UNIX):
        return None
    if family == _TCP4 and len(addresses) >= 12:
        return str(IPv4Address(addresses[:4]))
    if family == _TCP6 and len(addresses) >= 36:
        address = IPv6Address(addresses[:16])
        return str(address.ipv4_mapped or address)
    raise BadHeader(f"it has family and transport {family:#04x} with {len(addresses)} octets of addresses")


class ProxyHeader(asyncio.BufferedProtocol):
    """Reads the header of a connection, and not an octet more; then the next protocol takes over."""

    def __init__(
        self,
        *,
        seconds: float,
        then: Callable[[str | None], None],
        failed: Callable[[BadHeader], None],
        ended: Callable[["ProxyHeader"], None],
    ) -> None:
        """`then` is called with the client's address, `failed` when the header cannot be used, `ended` in any case."""
        self._seconds = seconds
        self._then = then
        self._failed = failed
        self._ended = ended
        self._head = b""
        self._buffer = bytearray(HEAD.size)
        self._filled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._give_up, "it did not come in time")

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
                self._buffer = bytearray(octets_to_come(octets))
                if self._buffer:
                    return
                octets = b""
            address = client(self._head, octets)
        except BadHeader as error:
            self._give_up(str(error))
            return
        self._end()
        self._then(address)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def cut(self) -> None:
        """The server stops, and does not wait for the rest."""
        self._transport.abort()

    def _give_up(self, reason: str) -> None:
        self._end()
        self._transport.abort()
        self._failed(BadHeader(reason))

    def _end(self) -> None:
        self._timer.cancel()
        self._ended(self)
