"""Send parcels by SMTP and LMTP: find the host, connect, and keep connections open for later parcels."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from waypost.delivery.outgoing import Parcel
from waypost.delivery.public_addresses import is_public
from waypost.delivery.smtp_client import dns
from waypost.delivery.smtp_client.connection import Connection, Timeouts, why
from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.dialogue import Need, SessionOptions
from waypost.domain.mail.delivery import AttemptResult, Stage, Trouble
from waypost.domain.mail.routes import Route, Target, Tls, parse_target

HOSTS = 5
"""The maximum number of a domain's mail servers that one attempt tries (RFC 5321 section 5.1 requires at least two)."""

ADDRESSES = 5
"""The maximum number of a host's addresses that one attempt tries."""

PART = 64 * 1024
"""The number of bytes that are collected before they are sent, so that a small message is sent in one piece."""


class MailHosts(Protocol):
    """Finds the mail hosts of a domain."""

    async def mail_hosts(self, domain: str) -> list[str]:
        """Return host names, most preferred first. Raises `dns.NullMx`, `dns.NoSuchDomain` or `dns.DnsFailed`."""
        ...


def client_context(*, verifies: bool) -> ssl.SSLContext:
    """Return a TLS context for TLS 1.2 or later. If `verifies` is false, any certificate is accepted (RFC 7435)."""
    if verifies:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class SmtpTransport:
    """Sends parcels to mail servers and mail stores."""

    def __init__(
        self,
        *,
        hostname: str,
        timeouts: Timeouts,
        resolve: MailHosts,
        context: Callable[..., ssl.SSLContext] = client_context,
    ) -> None:
        """`context` is a function that creates the TLS context. The function's argument `verifies` is true if the peer
        must have a valid certificate.
        """
        self._hostname = hostname
        self._timeouts = timeouts
        self._resolve = resolve
        self._context = lru_cache(maxsize=None)(context)
        self._idle: dict[object, deque[Connection]] = {}
        self._closing: set[Connection] = set()

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Attempt a delivery once, to the first reachable host."""
        hop = _NextHop.of(route, parcel.delivery.address.key.rpartition("@")[2])
        connection = self._take(hop)
        if connection:
            result = await self._carry(connection, parcel, hop)
            if not connection.dialogue.is_stale:
                return result
        reached = await self._reach(hop)
        if isinstance(reached, AttemptResult):
            return reached
        reached.lost.add_done_callback(lambda _: self._forget(reached, hop))
        return await self._carry(reached, parcel, hop)

    async def look(self, route: Route, domain: str) -> AttemptResult | None:
        """Connect to a peer, wait until the peer is ready for a message, and send QUIT.

        Returns the result of a failed attempt, or None if the peer was ready. `domain` is the recipient's domain, whose
        mail servers are looked up in the DNS if the route does not name a host.
        """
        reached = await self._reach(_NextHop.of(route, domain))
        if isinstance(reached, AttemptResult):
            return reached
        self._end_connection(reached)
        return None

    async def close(self) -> None:
        """Send QUIT on all idle connections, and close them."""
        for connections in list(self._idle.values()):
            for connection in list(connections):
                self._end_connection(connection)
        self._idle.clear()
        if self._closing:
            await asyncio.wait([connection.lost for connection in self._closing], timeout=self._timeouts.goodbye)
        for connection in self._closing:
            connection.abort()

    async def _carry(self, connection: Connection, parcel: Parcel, hop: "_NextHop") -> AttemptResult:
        connection.dialogue.begin(parcel)
        if parcel.whole is not None and connection.dialogue.need is Need.OCTETS:
            connection.dialogue.give(Part(parcel.header + parcel.whole, is_last=True))
            result = await connection.converse()
        else:
            async with aclosing(_parts(parcel)) as parts:
                result = await connection.converse(parts)
        assert result
        self._keep(connection, hop)
        return result

    # Idle connections

    def _take(self, hop: "_NextHop") -> Connection | None:
        """Take the most recently used idle connection, so that the other idle connections expire if they are not
        needed.
        """
        connections = self._idle.get(hop.key)
        while connections:
            connection = connections.pop()
            connection.take()
            if connection.is_usable:
                return connection
            connection.abort()
        self._idle.pop(hop.key, None)
        return None

    def _forget(self, connection: Connection, hop: "_NextHop") -> None:
        """Remove a connection from the idle connections."""
        connections = self._idle.get(hop.key, deque())
        if connection in connections:
            connections.remove(connection)
        if not connections:
            self._idle.pop(hop.key, None)

    def _keep(self, connection: Connection, hop: "_NextHop") -> None:
        connections = self._idle.setdefault(hop.key, deque())
        if not connection.is_usable or len(connections) >= hop.route.connections:
            self._end_connection(connection)
            return
        connections.append(connection)
        connection.keep(self._timeouts.idle, partial(self._expire, connection, hop))

    def _expire(self, connection: Connection, hop: "_NextHop") -> None:
        self._forget(connection, hop)
        self._end_connection(connection)

    def _end_connection(self, connection: Connection) -> None:
        connection.close()
        if not connection.lost.done():
            self._closing.add(connection)
            timer = connection.lost.get_loop().call_later(self._timeouts.goodbye, connection.abort)
            connection.lost.add_done_callback(lambda _: timer.cancel())
            connection.lost.add_done_callback(lambda _: self._closing.discard(connection))

    # New connections

    async def _reach(self, hop: "_NextHop") -> Connection | AttemptResult:
        """Connect to the first reachable host, at the first of its reachable addresses."""
        hosts = await self._hosts(hop)
        if isinstance(hosts, AttemptResult):
            return hosts
        result = None
        for host in hosts:
            if hop.target.mx is not None and _is_same_host(host, self._hostname):
                # RFC 5321 section 5.1: hosts that are less preferred than this server would send the message back to
                # it. The host name is compared only if the DNS provided it, as it did here. Other mail loops are found
                # by the loop token.
                return result or hop.trouble(Trouble.IS_OURSELVES, f"{host} is the name of this server")
            for place in await self._places(hop, host):
                reached = place if isinstance(place, AttemptResult) else await self._try(hop, place)
                if isinstance(reached, Connection):
                    return reached
                result = reached
                if result.stage is Stage.AUTH:
                    return result
        return result or hop.trouble(Trouble.NO_SUCH_HOST, "no host accepts mail for the domain")

    async def _hosts(self, hop: "_NextHop") -> list[str] | AttemptResult:
        if hop.target.mx is None:
            return [hop.target.host]
        try:
            return (await self._resolve.mail_hosts(hop.target.mx))[:HOSTS]
        except dns.NullMx as error:
            return hop.trouble(Trouble.NULL_MX, str(error))
        except dns.NoSuchDomain as error:
            return hop.trouble(Trouble.NO_SUCH_HOST, str(error))
        except dns.DnsFailed as error:
            return hop.trouble(Trouble.DNS_FAILED, str(error))

    async def _places(self, hop: "_NextHop", host: str) -> "list[_Place] | list[AttemptResult]":
        """Return the addresses of a host, or a list that contains only the result of the failed lookup."""
        target = hop.target
        if target.path:
            return [_Place(host="localhost", address="", peer=target.path)]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeouts.connect):
                found = await loop.getaddrinfo(host, target.port, type=socket.SOCK_STREAM)
        except (TimeoutError, OSError, UnicodeError) as error:
            is_unknown = isinstance(error, UnicodeError) or (
                isinstance(error, socket.gaierror) and error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}
            )
            trouble = Trouble.NO_SUCH_HOST if is_unknown else Trouble.DNS_FAILED
            return [hop.trouble(trouble, f"no address was found for the host {host}: {why(error)}")]
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        return [_Place.of(host, address, target.port) for address in list(addresses)[:ADDRESSES]]

    async def _try(self, hop: "_NextHop", place: "_Place") -> Connection | AttemptResult:
        """Connect, if the address is allowed. If TLS is optional and does not work, connect again without TLS (RFC
        7435).
        """
        if not hop.allows(place.address):
            text = "The DNS names a host with a private address, and the route does not allow private addresses"
            return hop.trouble(Trouble.FORBIDDEN, text, peer=place.peer)
        reached = await self._connect(hop, place, hop.tls)
        if isinstance(reached, Connection) or not _is_worth_trying_in_clear(hop, reached):
            return reached
        return await self._connect(hop, place, Tls.NONE)

    async def _connect(self, hop: "_NextHop", place: "_Place", tls: Tls) -> Connection | AttemptResult:
        """Connect, and wait until the peer is ready for a message.

        Return the connection, or the result of the attempt if it failed.
        """
        options = SessionOptions(
            protocol=hop.target.protocol,
            hostname=self._hostname,
            peer=place.peer,
            tls=tls,
            is_tls=hop.target.is_tls,
            user=hop.route.user,
            secret=hop.route.secret,
        )
        loop, target = asyncio.get_running_loop(), hop.target
        context = self._context(verifies=tls is Tls.VERIFY)
        connection = Connection(options, host=place.host, timeouts=self._timeouts, context=context)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                if target.path:
                    await loop.create_unix_connection(lambda: connection, target.path)
                else:
                    await loop.create_connection(lambda: connection, place.address, target.port)
        except TimeoutError:
            seconds = self._timeouts.connect
            return hop.trouble(
                Trouble.TIMEOUT, f"the connection was not established within {seconds:g} seconds", peer=place.peer
            )
        except OSError as error:
            return hop.trouble(Trouble.UNREACHABLE, why(error), peer=place.peer)
        result = await connection.converse()
        return result or connection


class _Place(Struct, frozen=True):
    """A host and one of its addresses."""

    host: str
    """The host's name. The host's certificate must be valid for this name.

    The name has no trailing dot (RFC 6125 section 6.4.1).
    """
    address: str
    peer: str
    """The name of the peer, as shown in results."""

    @classmethod
    def of(cls, host: str, address: str, port: int) -> "_Place":
        host = host.removesuffix(".")
        name = f"[{address}]:{port}"
        return cls(host, address, name if host == address else f"{host} {name}")


class _NextHop(Struct):
    """The target of a parcel, and the TLS mode for the connection to this target."""

    route: Route
    target: Target
    tls: Tls
    key: object
    """The key under which an idle connection is stored. The connection can be reused for any next hop that has the same
    key.
    """

    @classmethod
    def of(cls, route: Route, domain: str) -> "_NextHop":
        target = parse_target(route.to)
        if target.mx == "":
            target = replace(target, mx=domain)
        # TLS to a local socket adds no protection: a process that can read the socket can also read the message.
        is_clear = bool(target.path) and route.tls is Tls.OPPORTUNISTIC
        tls = Tls.NONE if is_clear else route.tls_in_use
        key = (route.to, target.mx, tls, route.user, route.secret, route.allow_private)
        return cls(route, target, tls, key)

    def allows(self, address: str) -> bool:
        """Whether the route permits a connection to this IP address.

        If the DNS names the host, only public addresses are allowed by default, because the owner of an external domain
        could name internal hosts. If the route itself names the host, every address is allowed, because the operator
        has chosen the host.
        """
        return self.target.mx is None or self.route.allow_private or is_public(address)

    def trouble(self, trouble: Trouble, text: str, *, peer: str = "") -> AttemptResult:
        """The result of an attempt that failed before a connection was established."""
        to = peer or self.target.host or self.target.mx or self.target.path
        return AttemptResult(protocol=self.target.protocol, stage=Stage.CONNECT, peer=to, trouble=trouble, text=text)


def _is_same_host(one: str, other: str) -> bool:
    return one.lower().removesuffix(".") == other.lower().removesuffix(".")


def _is_worth_trying_in_clear(hop: _NextHop, result: AttemptResult) -> bool:
    if hop.tls is not Tls.OPPORTUNISTIC or hop.target.is_tls or hop.route.user:
        return False
    # Unexpected data in place of TLS (GARBAGE) indicates an attack, so TLS is not skipped in that case.
    return result.stage is Stage.TLS and result.trouble in {Trouble.BAD_TLS, Trouble.DISCONNECTED, Trouble.TIMEOUT}


async def _parts(parcel: Parcel) -> AsyncGenerator[Part, None]:
    """Yield the bytes that the peer gets: the trace header, and then the author's message. Small parts are joined."""
    left, gathered = parcel.size, parcel.header
    async with parcel.reading() as octets:
        async for part in octets:
            gathered = gathered + part if gathered else part
            if PART <= len(gathered) < left:
                left -= len(gathered)
                yield Part(gathered, is_last=False)
                gathered = b""
    if len(gathered) != left:
        raise ValueError(f"the message does not have the recorded size of {parcel.size} bytes")
    yield Part(gathered, is_last=True)
