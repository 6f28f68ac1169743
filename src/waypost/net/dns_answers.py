"""A limit on the size of DNS answers, for the delivery queue and for the sender checks.

The owner of a domain controls the size of the DNS answers for that domain. Over TCP, an answer can be up to 64 KiB
long. The DNS library needs about ten microseconds to parse each record. Without a limit, one answer could block the
event loop for a fifth of a second.
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
    """The exception for a DNS answer that is longer than the limit. The resolver treats the answer as malformed."""


class Nameserver(dns.nameserver.Do53Nameserver):
    """A DNS server at a given address and port. `limit` is the maximum size of an answer over TCP, in bytes.

    Answers over UDP do not need a limit, because they are short (RFC 9715 section 3).
    """

    def __init__(self, address: str, port: int, *, limit: int) -> None:
        super().__init__(address, port)
        self._limit = limit

    def query(  # noqa: PLR0917 - the library defines the parameters
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """Send a query for the resolver, over TCP if `max_size` is true, and return the answer.

        Raises `TooLong` if the answer is too long, or one of the DNS library's exceptions if the query fails for
        another reason.
        """
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

    async def async_query(  # noqa: PLR0917 - the library defines the parameters
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
        """Send a query for the asynchronous resolver, in the same way as `query`."""
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
    """Configure a resolver to query `servers`, and to read at most `limit` bytes of each answer over TCP.

    If `servers` is empty, the resolver keeps its configured servers.
    """
    if not servers:
        servers = [(str(server), resolver.port) for server in resolver.nameservers]
    resolver.nameservers = [Nameserver(host, port, limit=limit) for host, port in servers]


class _BoundedSocket(socket.socket):
    limit = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        _refuse(size, self.limit)
        return super().recv(size, flags)


class _BoundedStream:
    """A wrapper around one of the DNS library's streams, with only the methods that the library calls."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.sendall = stream.sendall
        self.getpeername = stream.getpeername

    async def recv(self, size: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - the library defines it
        _refuse(size, self._limit)
        octets: bytes = await self._stream.recv(size, timeout)
        return octets


def _refuse(size: int, limit: int) -> None:
    """Raise `TooLong` if `size` exceeds the limit.

    The library first reads the length of an answer, and then requests all of its bytes in a single call, so the size of
    this request is the size of the answer.
    """
    if size > limit:
        raise TooLong(f"a DNS answer of {size} bytes")  # type: ignore[no-untyped-call]
