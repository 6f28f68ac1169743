"""Sends parcels by SMTP and LMTP: finds the host, connects, and keeps connections for later parcels."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Protocol

from waypost.delivery.outgoing import Parcel
from waypost.delivery.public_addresses import is_public
from waypost.delivery.smtp_client import dns
from waypost.delivery.smtp_client.connection import Connection, Timeouts, why
from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.dialogue import SessionOptions
from waypost.domain.mail.delivery import AttemptResult, Stage, Trouble
from waypost.domain.mail.routes import Route, Target, Tls, parse_target

HOSTS = 5
"""Mail servers of a domain that are tried in one attempt (RFC 5321 section 5.1 asks for two at least)."""

ADDRESSES = 5
"""Addresses of one host that are tried in one attempt."""

PART = 64 * 1024
"""Octets of a message that are gathered before they are sent, so that small messages go in one piece."""


class MailHosts(Protocol):
    """Finds the mail hosts of a domain."""

    async def mail_hosts(self, domain: str) -> list[str]:
        """Names, the best first. Raises `dns.NullMx`, `dns.NoSuchDomain` or `dns.DnsFailed`."""
        ...


def client_context(*, verifies: bool) -> ssl.SSLContext:
    """The TLS context: 1.2 at least. Without `verifies` any certificate will do (RFC 7435)."""
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
        """`context` makes the TLS context; `verifies=True` asks for one that requires a valid certificate."""
        self._hostname = hostname
        self._timeouts = timeouts
        self._resolve = resolve
        self._context = lru_cache(maxsize=None)(context)
        self._idle: dict[object, deque[Connection]] = {}
        self._closing: set[Connection] = set()

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Make one attempt, at the first reachable host."""
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
        """Connect to a peer until it is ready for a message, and send QUIT. Returns the obstacle, if any.

        `domain` is the one of an address, for a route that asks the DNS for its mail servers.
        """
        reached = await self._reach(_NextHop.of(route, domain))
        if isinstance(reached, AttemptResult):
            return reached
        self._let_go(reached)
        return None

    async def close(self) -> None:
        """Send QUIT on all kept connections."""
        for connections in list(self._idle.values()):
            for connection in list(connections):
                self._let_go(connection)
        self._idle.clear()
        if self._closing:
            await asyncio.wait([connection.lost for connection in self._closing], timeout=self._timeouts.goodbye)
        for connection in self._closing:
            connection.abort()

    async def _carry(self, connection: Connection, parcel: Parcel, hop: "_NextHop") -> AttemptResult:
        connection.dialogue.begin(parcel)
        async with aclosing(_parts(parcel)) as parts:
            result = await connection.converse(parts)
        assert result
        self._keep(connection, hop)
        return result

    # Connections that are kept

    def _take(self, hop: "_NextHop") -> Connection | None:
        """The connection that was kept last, so that connections that are not needed expire."""
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
        """Drop it if it was lost."""
        connections = self._idle.get(hop.key, deque())
        if connection in connections:
            connections.remove(connection)
        if not connections:
            self._idle.pop(hop.key, None)

    def _keep(self, connection: Connection, hop: "_NextHop") -> None:
        connections = self._idle.setdefault(hop.key, deque())
        if not connection.is_usable or len(connections) >= hop.route.connections:
            self._let_go(connection)
            return
        connections.append(connection)
        connection.keep(self._timeouts.idle, partial(self._has_waited, connection, hop))

    def _has_waited(self, connection: Connection, hop: "_NextHop") -> None:
        self._forget(connection, hop)
        self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
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
                # RFC 5321 section 5.1: those that are preferred less than we are would bring it back to us. Only here
                # does our name say so: it is the DNS that names us. A circle past it is found by its loop token.
                return result or hop.trouble(Trouble.IS_OURSELVES, f"{host} is what we are called")
            for place in await self._places(hop, host):
                reached = place if isinstance(place, AttemptResult) else await self._try(hop, place)
                if isinstance(reached, Connection):
                    return reached
                result = reached
                if result.stage is Stage.AUTH:
                    return result
        return result or hop.trouble(Trouble.NO_SUCH_HOST, "no host takes its mail")

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
        """The addresses of a host, or the reason why there are none."""
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
            return [hop.trouble(trouble, f"no address of {host}: {why(error)}")]
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        return [_Place.of(host, address, target.port) for address in list(addresses)[:ADDRESSES]]

    async def _try(self, hop: "_NextHop", place: "_Place") -> Connection | AttemptResult:
        """Connect, if the address is allowed. Where TLS is optional and does not work, it continues without TLS (RFC
        7435).
        """
        if not hop.allows(place.address):
            text = "The DNS names a host with a private address, and the route does not allow one"
            return hop.trouble(Trouble.FORBIDDEN, text, peer=place.peer)
        reached = await self._connect(hop, place, hop.tls)
        if isinstance(reached, Connection) or not _is_worth_trying_in_clear(hop, reached):
            return reached
        return await self._connect(hop, place, Tls.NONE)

    async def _connect(self, hop: "_NextHop", place: "_Place", tls: Tls) -> Connection | AttemptResult:
        """Connect until the peer is ready for a message."""
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
            return hop.trouble(Trouble.TIMEOUT, f"no connection within {seconds:g} seconds", peer=place.peer)
        except OSError as error:
            return hop.trouble(Trouble.UNREACHABLE, why(error), peer=place.peer)
        result = await connection.converse()
        return result or connection


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a host is."""

    host: str
    """Its name, for which a certificate has to be good; that never ends in a dot (RFC 6125 section 6.4.1)."""
    address: str
    peer: str
    """Its name in results."""

    @classmethod
    def of(cls, host: str, address: str, port: int) -> "_Place":
        host = host.removesuffix(".")
        name = f"[{address}]:{port}"
        return cls(host, address, name if host == address else f"{host} {name}")


@dataclass(frozen=True, slots=True)
class _NextHop:
    """Where a parcel goes next, and how."""

    route: Route
    target: Target
    tls: Tls

    @classmethod
    def of(cls, route: Route, domain: str) -> "_NextHop":
        target = _target(route.to)
        if target.mx == "":
            target = replace(target, mx=domain)
        # Who can read a socket of this machine can read the message as well.
        is_clear = bool(target.path) and route.tls is Tls.OPPORTUNISTIC
        return cls(route, target, Tls.NONE if is_clear else route.tls_in_use)

    @property
    def key(self) -> object:
        """A connection can be used again for a next hop with the same key."""
        return self.target, self.tls, self.route.user, self.route.secret, self.route.allow_private

    def allows(self, address: str) -> bool:
        """Whether a host may have this IP address.

        The owner of a domain names its mail servers in the DNS, so a domain outside could name hosts inside. A host
        that the route itself names was chosen by the operator.
        """
        return self.target.mx is None or self.route.allow_private or is_public(address)

    def trouble(self, trouble: Trouble, text: str, *, peer: str = "") -> AttemptResult:
        """The result of an attempt without a connection."""
        to = peer or self.target.host or self.target.mx or self.target.path
        return AttemptResult(protocol=self.target.protocol, stage=Stage.CONNECT, peer=to, trouble=trouble, text=text)


def _is_same_host(one: str, other: str) -> bool:
    return one.lower().removesuffix(".") == other.lower().removesuffix(".")


_target = lru_cache(maxsize=1024)(parse_target)


def _is_worth_trying_in_clear(hop: _NextHop, result: AttemptResult) -> bool:
    if hop.tls is not Tls.OPPORTUNISTIC or hop.target.is_tls or hop.route.user:
        return False
    # Not where somebody in between spoke out of turn: that is an attack, and no mistake.
    return result.stage is Stage.TLS and result.trouble in {Trouble.BAD_TLS, Trouble.DISCONNECTED, Trouble.TIMEOUT}


async def _parts(parcel: Parcel) -> AsyncGenerator[Part, None]:
    """The octets that the peer gets: the trace lines and the author's octets. Small parts are put together."""
    left, gathered = parcel.size, parcel.header
    async with parcel.reading() as octets:
        async for part in octets:
            gathered = gathered + part if gathered else part
            if PART <= len(gathered) < left:
                left -= len(gathered)
                yield Part(gathered, is_last=False)
                gathered = b""
    if len(gathered) != left:
        raise ValueError(f"it should have {parcel.size} octets")
    yield Part(gathered, is_last=True)
