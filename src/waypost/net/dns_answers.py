"""A DNS server whose answers are read up to a limit, for the queue and for the sender checks.

The owner of any domain decides how long an answer about it is, up to 64 KiB over TCP, and the library takes some ten
microseconds for each record in it: without a limit, one answer would hold the event loop up for a fifth of a second.
"""

import socket
import time
from collections.abc import Sequence
from typing import Any

import dns.asyncquery
import dns.exception
import dns.inet
import dns.message
import dns.nameserver
import dns.query
import dns.resolver


class TooLong(dns.exception.FormError):
    """An answer has more octets than are read. The resolver continues as if it could not be read."""


class Nameserver(dns.nameserver.Do53Nameserver):
    """A DNS server by its address and port, and how many octets of an answer over TCP are read.

    Over UDP answers are shorter (RFC 9715 section 3).
    """

    def __init__(self, address: str, port: int, *, limit: int) -> None:
        super().__init__(address, port)
        self._limit = limit

    def query(  # noqa: PLR0917 - as the library calls it
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """Called by the resolver, over TCP with `max_size`. Raises `TooLong`, and what the library raises."""
        if not max_size:
            return super().query(request, timeout, source, source_port, False, one_rr_per_rrset, ignore_trailing)
        until = time.monotonic() + timeout
        with _BoundedSocket(dns.inet.af_for_address(self.address), socket.SOCK_STREAM) as connection:
            connection.limit = self._limit
            connection.settimeout(timeout)
            connection.connect((self.address, self.port))
            connection.setblocking(False)
            left = max(0.0, until - time.monotonic())
            return dns.query.tcp(request, self.address, timeout=left, port=self.port, sock=connection)

    async def async_query(  # noqa: PLR0917 - as above
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """As `query`, for the asynchronous resolver."""
        if not max_size:
            return await super().async_query(
                request, timeout, source, source_port, False, backend, one_rr_per_rrset, ignore_trailing
            )
        until = time.monotonic() + timeout
        family = dns.inet.af_for_address(self.address)
        stream = await backend.make_socket(family, socket.SOCK_STREAM, 0, None, (self.address, self.port), timeout)
        async with stream:
            left = max(0.0, until - time.monotonic())
            bounded = _BoundedStream(stream, self._limit)
            return await dns.asyncquery.tcp(request, self.address, timeout=left, port=self.port, sock=bounded)


def bound(resolver: dns.resolver.BaseResolver, servers: Sequence[tuple[str, int]], *, limit: int) -> None:
    """Make a resolver use these servers, or, if there are none, its own, and read `limit` octets at most."""
    if not servers:
        servers = [(str(server), resolver.port) for server in resolver.nameservers]
    resolver.nameservers = [Nameserver(host, port, limit=limit) for host, port in servers]


class _BoundedSocket(socket.socket):
    limit = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        _refuse(size, self.limit)
        return super().recv(size, flags)


class _BoundedStream:
    """A stream of the library's, as far as it is used."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.sendall = stream.sendall
        self.getpeername = stream.getpeername

    async def recv(self, size: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - as above
        _refuse(size, self._limit)
        octets: bytes = await self._stream.recv(size, timeout)
        return octets


def _refuse(size: int, limit: int) -> None:
    """The library reads the length of an answer first, and then asks for all of it."""
    if size > limit:
        raise TooLong(f"an answer of {size} octets")  # type: ignore[no-untyped-call]
