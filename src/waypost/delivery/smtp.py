"""Sends parcels over SMTP and LMTP: finds the host, connects, speaks TLS, and keeps connections for the next parcel."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Protocol, cast

from waypost.delivery import dns
from waypost.delivery.dialogue import Dialogue, Manners, Need, Part
from waypost.delivery.parcel import Parcel
from waypost.domain.delivery import AttemptResult, Stage, Trouble
from waypost.domain.routes import Route, Target, Tls, parse_target

HOSTS = 5
"""Mail servers of a domain that are tried in one attempt (RFC 5321 section 5.1 asks for two at least)."""

ADDRESSES = 5
"""Addresses of one host that are tried in one attempt."""

TRANSACTIONS = 100
"""Parcels that go over one connection."""

PART = 64 * 1024
"""Octets of a message that are gathered before they are sent, so that small messages go in one piece."""

UNSENT = 256 * 1024
"""Octets that wait for the peer to read, before no more are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a peer may take, in seconds (RFC 5321 section 4.5.3.2)."""

    connect: float = 30.0
    """Also for the DNS, and for the handshake."""
    greeting: float = 60.0
    command: float = 60.0
    data: float = 180.0
    """To read some of the message."""
    end: float = 600.0
    """To say what it does with the message."""
    idle: float = 10.0
    """For which a connection is kept."""
    goodbye: float = 1.0
    """For a connection to be closed in peace."""

    def of(self, need: Need, stage: Stage) -> float:
        """For what is waited for at this stage."""
        if need is Need.OCTETS or stage is Stage.BODY:
            return self.data
        return {Stage.GREETING: self.greeting, Stage.END: self.end}.get(stage, self.command)


class MailHosts(Protocol):
    """Knows which hosts take the mail of a domain."""

    async def mail_hosts(self, domain: str) -> list[str]:
        """Names, the best first. Raises `dns.NullMx`, `dns.NoSuchDomain` or `dns.DnsFailed`."""
        ...


def client_context(*, verifies: bool) -> ssl.SSLContext:
    """What TLS we speak: 1.2 at least. Without `verifies` any certificate will do (RFC 7435)."""
    if verifies:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Connection(asyncio.Protocol):
    """One connection: moves octets between the socket and the dialogue, and watches the time."""

    def __init__(self, manners: Manners, *, host: str, timeouts: Timeouts, context: ssl.SSLContext) -> None:
        self.dialogue = Dialogue(manners)
        self._manners = manners
        self._host = host
        self._timeouts = timeouts
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_full = self._is_shaking_hands = False
        self._within_tls: bytes | None = None
        """What the peer says right behind the handshake, before it is known that it was made."""
        self._unsent = 0
        self.kept: asyncio.TimerHandle | None = None
        """Ends it, while it waits for the next parcel."""
        self.lost = self._loop.create_future()

    @property
    def is_usable(self) -> bool:
        """Whether another parcel can go over it."""
        return not (self.dialogue.is_over or self.lost.done() or self.dialogue.transactions >= TRANSACTIONS)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT)

    def data_received(self, data: bytes) -> None:
        """The peer says something."""
        if self._within_tls is not None:
            self._within_tls += data
            return
        dialogue = self.dialogue
        before = dialogue.heard
        dialogue.receive(data)
        if dialogue.need is Need.TLS and self._transport:
            self._transport.pause_reading()  # what comes now is for whoever makes the handshake
        if dialogue.heard != before or dialogue.need is Need.NOTHING:  # half a reply buys no time
            self._wake()
        if self.kept and dialogue.is_over:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if not self.lost.done():
            self.lost.set_result(None)
        if not self._is_shaking_hands:  # that tells why it failed
            self.dialogue.fail(Trouble.DISCONNECTED, _why(exc) if exc else "the peer closed the connection")
        self._wake()

    def pause_writing(self) -> None:
        """The peer does not read as fast as we write."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_full = False
        self._wake()

    # What we do

    async def converse(self, parts: AsyncGenerator[Part, None] | None = None) -> AttemptResult | None:
        """Go on until the dialogue needs nothing more. Returns its result."""
        dialogue = self.dialogue
        try:
            while dialogue.need is not Need.NOTHING:
                self._flush()
                if dialogue.need is Need.TLS:
                    await self._shake_hands()
                elif dialogue.need is Need.REPLY or self._is_full:
                    await self._wait(self._timeouts.of(dialogue.need, dialogue.stage))
                else:
                    assert parts
                    await self._hand_on(parts)
            self._flush()
        except BaseException:
            self.abort()
            raise
        if dialogue.is_over:
            self.abort()
        return dialogue.result

    def keep(self, seconds: float, ended: Callable[[], None]) -> None:
        """Wait for the next parcel for so long."""
        self.kept = self._loop.call_later(seconds, ended)

    def take(self) -> None:
        """Wait no longer."""
        if self.kept:
            self.kept.cancel()
            self.kept = None

    def close(self) -> None:
        """Say goodbye and go. The answer is not waited for."""
        self.take()
        self.dialogue.quit()
        self._flush()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Go."""
        self.take()
        self.dialogue.is_over = True
        if self._transport:
            self._transport.abort()

    async def _hand_on(self, parts: AsyncGenerator[Part, None]) -> None:
        dialogue = self.dialogue
        try:
            part = await anext(parts)
        except Exception as error:  # noqa: BLE001 - it is our store, and the peer must not wait for what does not come
            dialogue.fail(Trouble.FAILED, f"the message cannot be read: {type(error).__name__}: {error}")
            return
        if dialogue.need is Need.OCTETS:  # the peer may have gone, or said no, in between
            dialogue.give(part)

    def _flush(self) -> None:
        octets = self.dialogue.output()
        if octets and self._transport and not self._transport.is_closing():
            self._transport.write(octets)

    async def _wait(self, seconds: float) -> None:
        """Wait until something has happened, or it took too long."""
        self._waiter = self._loop.create_future()
        self._unsent = self._transport.get_write_buffer_size() if self._transport else 0
        timer = self._loop.call_later(seconds, self._time_is_over, seconds)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _time_is_over(self, seconds: float) -> None:
        is_slow = self._transport and self._transport.get_write_buffer_size() < self._unsent
        if not (is_slow and self.dialogue.need is Need.OCTETS):  # else it reads, if slowly
            self.dialogue.fail(Trouble.TIMEOUT, f"nothing came for {seconds:g} seconds")
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _shake_hands(self) -> None:
        assert self._transport
        seconds, grace = self._timeouts.connect, self._timeouts.goodbye
        self._is_shaking_hands = True
        upgrade = self._loop.create_task(
            self._loop.start_tls(
                self._transport,
                self,
                self._context,
                server_hostname=self._host,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=grace,
            )
        )
        try:
            await asyncio.sleep(0)  # in its first step it takes the transport over
            self._within_tls = b""
            # The loop bounds the handshake, but not where the peer is gone before it has begun.
            await asyncio.wait([upgrade, self.lost], timeout=seconds + grace, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([upgrade], timeout=grace)
        finally:
            self._is_shaking_hands = False
            if not upgrade.done():
                upgrade.cancel()
                await asyncio.wait([upgrade])
        said, self._within_tls = self._within_tls or b"", None
        error = ConnectionResetError() if upgrade.cancelled() else upgrade.exception()
        transport = None if error else upgrade.result()
        spoken = transport.get_extra_info("ssl_object") if transport else None
        if transport and spoken and self.dialogue.need is Need.TLS:
            self._transport = transport
            transport.set_write_buffer_limits(high=UNSENT)
            self.dialogue.tls_started(f"{spoken.version()} {spoken.cipher()[0]}")
            self.data_received(said)
            if self.lost.done():
                self.connection_lost(None)
        else:
            self.dialogue.fail(Trouble.BAD_TLS, f"no TLS with the peer: {_why(error)}")


class SmtpTransport:
    """Carries parcels to mail servers and mail stores."""

    def __init__(
        self,
        *,
        hostname: str,
        timeouts: Timeouts,
        resolve: MailHosts,
        context: Callable[..., ssl.SSLContext] = client_context,
    ) -> None:
        """`context` makes the TLS context; `verifies=True` asks for one that wants a good certificate."""
        self._hostname = hostname
        self._timeouts = timeouts
        self._resolve = resolve
        self._context = lru_cache(maxsize=None)(context)
        self._idle: dict[object, deque[Connection]] = {}
        self._closing: set[Connection] = set()

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Try once, at the first host that can be spoken with."""
        errand = _Errand.of(route, parcel.delivery.address.key.rpartition("@")[2])
        connection = self._take(errand)
        if connection:
            result = await self._carry(connection, parcel, errand)
            if not connection.dialogue.is_stale:
                return result
        reached = await self._reach(errand)
        if isinstance(reached, AttemptResult):
            return reached
        return await self._carry(reached, parcel, errand)

    async def look(self, route: Route, domain: str) -> AttemptResult | None:
        """Go as far as a peer that is ready for a message, and say goodbye. Returns what was in the way, if anything.

        `domain` is the one of an address, for a route that asks the DNS for its mail servers.
        """
        reached = await self._reach(_Errand.of(route, domain))
        if isinstance(reached, AttemptResult):
            return reached
        self._let_go(reached)
        return None

    async def close(self) -> None:
        """Say goodbye on all connections that are kept."""
        for connections in list(self._idle.values()):
            for connection in list(connections):
                self._let_go(connection)
        self._idle.clear()
        if self._closing:
            await asyncio.wait([connection.lost for connection in self._closing], timeout=self._timeouts.goodbye)
        for connection in self._closing:
            connection.abort()

    async def _carry(self, connection: Connection, parcel: Parcel, errand: "_Errand") -> AttemptResult:
        connection.dialogue.begin(parcel)
        async with aclosing(_parts(parcel)) as parts:
            result = await connection.converse(parts)
        assert result
        self._keep(connection, errand)
        return result

    # Connections that are kept

    def _take(self, errand: "_Errand") -> Connection | None:
        """A connection that was kept; the last one, so that those that are not needed end."""
        connections = self._idle.get(errand.key)
        while connections:
            connection = connections.pop()
            connection.take()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: Connection, errand: "_Errand") -> None:
        connections = self._idle.setdefault(errand.key, deque())
        if not connection.is_usable or len(connections) >= errand.route.connections:
            self._let_go(connection)
            return
        connections.append(connection)
        connection.keep(self._timeouts.idle, partial(self._has_waited, connection, errand))

    def _has_waited(self, connection: Connection, errand: "_Errand") -> None:
        connections = self._idle[errand.key]
        connections.remove(connection)
        if not connections:
            del self._idle[errand.key]
        self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        connection.close()
        if not connection.lost.done():
            self._closing.add(connection)
            timer = connection.lost.get_loop().call_later(self._timeouts.goodbye, connection.abort)
            connection.lost.add_done_callback(lambda _: timer.cancel())
            connection.lost.add_done_callback(lambda _: self._closing.discard(connection))

    # New connections

    async def _reach(self, errand: "_Errand") -> Connection | AttemptResult:
        """Connect to the first host, at the first of its addresses, that can be spoken with."""
        hosts = await self._hosts(errand)
        if isinstance(hosts, AttemptResult):
            return hosts
        result = None
        for host in hosts:
            if errand.target.mx is not None and host.lower() == self._hostname.lower():
                # RFC 5321 section 5.1: those that are preferred less than we are would bring it back to us.
                return result or errand.trouble(Trouble.IS_OURSELVES, f"{host} is what we are called")
            for place in await self._places(errand, host):
                reached = place if isinstance(place, AttemptResult) else await self._try(errand, place)
                if isinstance(reached, Connection):
                    return reached
                result = reached
                if result.stage is Stage.AUTH or result.trouble is Trouble.IS_OURSELVES:
                    return result
        return result or errand.trouble(Trouble.NO_SUCH_HOST, "no host takes its mail")

    async def _hosts(self, errand: "_Errand") -> list[str] | AttemptResult:
        if errand.target.mx is None:
            return [errand.target.host]
        try:
            return (await self._resolve.mail_hosts(errand.target.mx))[:HOSTS]
        except dns.NullMx as error:
            return errand.trouble(Trouble.NULL_MX, str(error))
        except dns.NoSuchDomain as error:
            return errand.trouble(Trouble.NO_SUCH_HOST, str(error))
        except dns.DnsFailed as error:
            return errand.trouble(Trouble.DNS_FAILED, str(error))

    async def _places(self, errand: "_Errand", host: str) -> "list[_Place] | list[AttemptResult]":
        """The addresses of a host; or why there are none."""
        target = errand.target
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
            return [errand.trouble(trouble, f"no address of {host}: {_why(error)}")]
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        return [_Place.of(host, address, target.port) for address in list(addresses)[:ADDRESSES]]

    async def _try(self, errand: "_Errand", place: "_Place") -> Connection | AttemptResult:
        """Connect there. Where TLS is only welcome and does not work, it goes without (RFC 7435)."""
        reached = await self._connect(errand, place, errand.tls)
        if isinstance(reached, Connection) or not _is_worth_trying_in_clear(errand, reached):
            return reached
        return await self._connect(errand, place, Tls.NONE)

    async def _connect(self, errand: "_Errand", place: "_Place", tls: Tls) -> Connection | AttemptResult:
        """Connect, and speak until the peer is ready for a message."""
        manners = Manners(
            protocol=errand.target.protocol,
            hostname=self._hostname,
            peer=place.peer,
            tls=tls,
            is_tls=errand.target.is_tls,
            user=errand.route.user,
            secret=errand.route.secret,
        )
        loop, target = asyncio.get_running_loop(), errand.target
        context = self._context(verifies=tls is Tls.VERIFY)
        connection = Connection(manners, host=place.host, timeouts=self._timeouts, context=context)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                if target.path:
                    await loop.create_unix_connection(lambda: connection, target.path)
                else:
                    await loop.create_connection(lambda: connection, place.address, target.port)
        except TimeoutError:
            seconds = self._timeouts.connect
            return errand.trouble(Trouble.TIMEOUT, f"no connection within {seconds:g} seconds", peer=place.peer)
        except OSError as error:
            return errand.trouble(Trouble.UNREACHABLE, _why(error), peer=place.peer)
        result = await connection.converse()
        return result or connection


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a host is."""

    host: str
    address: str
    peer: str
    """How it is named in results."""

    @classmethod
    def of(cls, host: str, address: str, port: int) -> "_Place":
        name = f"[{address}]:{port}"
        return cls(host, address, name if host == address else f"{host} {name}")


@dataclass(frozen=True, slots=True)
class _Errand:
    """Where a parcel goes, and how."""

    route: Route
    target: Target
    tls: Tls

    @classmethod
    def of(cls, route: Route, domain: str) -> "_Errand":
        target = _target(route.to)
        if target.mx == "":
            target = replace(target, mx=domain)
        # Who can read a socket of this machine can read the message as well.
        is_clear = bool(target.path) and route.tls is Tls.OPPORTUNISTIC
        return cls(route, target, Tls.NONE if is_clear else route.tls)

    @property
    def key(self) -> object:
        """Connections are good for errands with the same."""
        return self.target, self.tls, self.route.user, self.route.secret

    def trouble(self, trouble: Trouble, text: str, *, peer: str = "") -> AttemptResult:
        """What came of it, if it did not come to a connection."""
        to = peer or self.target.host or self.target.mx or self.target.path
        return AttemptResult(protocol=self.target.protocol, stage=Stage.CONNECT, peer=to, trouble=trouble, text=text)


_target = lru_cache(maxsize=1024)(parse_target)


def _is_worth_trying_in_clear(errand: _Errand, result: AttemptResult) -> bool:
    if errand.tls is not Tls.OPPORTUNISTIC or errand.target.is_tls or errand.route.user:
        return False
    # Not where somebody in between spoke out of turn: that is an attack, and no mistake.
    return result.stage is Stage.TLS and result.trouble in {Trouble.BAD_TLS, Trouble.DISCONNECTED, Trouble.TIMEOUT}


async def _parts(parcel: Parcel) -> AsyncGenerator[Part, None]:
    """What the peer gets: our header and the author's octets. Small parts are put together."""
    left, gathered = parcel.size, parcel.header
    octets = parcel.octets()
    try:
        async for part in octets:
            gathered = gathered + part if gathered else part
            if PART <= len(gathered) < left:
                left -= len(gathered)
                yield Part(gathered, is_last=False)
                gathered = b""
    finally:
        if isinstance(octets, AsyncGenerator):
            await octets.aclose()
    if len(gathered) != left:
        raise ValueError(f"it should have {parcel.size} octets")
    yield Part(gathered, is_last=True)


def _why(error: BaseException | None) -> str:
    """Why something failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ConnectionResetError) and not error.strerror:
        return "the connection was closed"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
