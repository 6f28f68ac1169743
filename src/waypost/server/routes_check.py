"""Checks, when a route is set, that its target can be reached and does not lead back to this server."""

import asyncio
import random
import re
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import assert_never

from waypost.config.settings import Settings
from waypost.config.types import ENDPOINT, RESOLVERS, understood
from waypost.delivery import maildir_directories
from waypost.delivery.public_addresses import is_public
from waypost.delivery.smtp_client.connection import Timeouts, why
from waypost.delivery.smtp_client.dns import DnsFailed, NoSuchDomain, NullMx, Resolver
from waypost.delivery.smtp_client.transport import SmtpTransport
from waypost.domain.dsn import redact
from waypost.domain.mail.delivery import Protocol, Trouble
from waypost.domain.mail.routes import Route, Target, log_destination, shown
from waypost.host import data_directory
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.server.opening import Refused

SECONDS = 10.0
"""Seconds that a host may take to answer."""

SMTP_PORT = 25
"""The port at which a mail host of the DNS is tried."""

Address = IPv4Address | IPv6Address


class LeadsBack(Refused):
    """Mail would go in a loop."""

    reason = "it leads back to this server"
    """For the log."""


class Unreachable(Refused):
    """The target of a route does not exist, or is not usable. The message says why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The text for the log, without a path or the words of a peer."""


@dataclass(frozen=True, kw_only=True)
class OurServer:
    """The server for which a route is checked."""

    hostname: str
    """What it calls itself."""
    listeners: Collection[str]
    """All addresses where it takes mail, as HOST:PORT. A host may be a name, or one for all of this machine."""
    resolver: Resolver

    @classmethod
    def of(cls, settings: Settings) -> "OurServer":
        """A server with these settings."""
        listeners = [str(endpoint) for endpoints in settings.mail_endpoints.values() for endpoint in endpoints]
        resolver = Resolver(settings.dns, shuffler=random.SystemRandom())
        return cls(hostname=settings.real_hostname, listeners=listeners, resolver=resolver)

    @classmethod
    def running(cls, run: data_directory.Run) -> "OurServer":
        """The server that is running."""
        settings = Settings(hostname=run.hostname, dns=understood(RESOLVERS, run.dns, "dns"))
        return replace(cls.of(settings), listeners=run.listeners)


async def refuse_circles(routes: Sequence[Route], server: OurServer) -> None:
    """Raise `LeadsBack` if a route leads to this server, before mail goes in a loop."""
    looking = (refuse_circle(route, server.listeners) for route in routes)
    for found in await asyncio.gather(*looking, return_exceptions=True):
        if found:
            raise found


async def tell(routes: Sequence[Route], server: OurServer, emit: events.Emit) -> None:
    """Log which routes cannot be reached now, or lead back to this server. Mail for them waits."""
    for route in routes:
        try:
            await check(route, server)
        except (LeadsBack, Unreachable) as error:
            emit(
                events.RouteUnreachable(
                    route=route.log_name, destination=log_destination(route.to), reason=error.reason
                )
            )
        except Exception as error:  # noqa: BLE001 - a bug of ours; the other routes are checked all the same
            Incidents(emit, of_store=()).report(error, where="routes")


async def check_route(route: Route, server: OurServer) -> None:
    """Check that the target of a route exists. Raises `Refused`, saying what to do."""
    try:
        await check(route, server)
    except LeadsBack:
        raise
    except Refused as error:
        raise Refused(f"{error}. Fix that first, or set the route with --unchecked: its mail waits.") from error


async def check(route: Route, server: OurServer) -> None:
    """Raise `Refused` with the reason if the target of a route does not exist; `LeadsBack` if it is this server."""
    if route.is_inbox or route.fault:
        return
    await refuse_circle(route, server.listeners)
    target = route.target
    match target.protocol:
        case Protocol.SMTP | Protocol.LMTP:
            found, reason = await _look_at_server(route, server)
        case Protocol.MAILDIR:
            found = await asyncio.to_thread(maildir_directories.why_not_usable, Path(target.path))
            reason = "its directory is not there, or cannot be used"
        case Protocol.WEBHOOK:
            found = reason = await _look_at_webhook(route)
        case never:
            assert_never(never)
    if found:
        raise Unreachable(f"{shown(route.to)} cannot be reached: {redact.one_line(found)}", reason)


async def refuse_circle(route: Route, listeners: Collection[str]) -> None:
    """Raise `LeadsBack` if a route names a host and port of one of these listeners, however it is spelled.

    `listeners` are HOST:PORT each. Names are resolved. A host that cannot be resolved does not lead back.
    """
    target = None if route.is_inbox else route.target
    if target and target.host and await _is_answered_here(target.host, target.port, listeners):
        raise _circle(route)


async def _is_answered_here(host: str, port: int, listeners: Collection[str]) -> bool:
    """Whether one of this server's listeners accepts a connection to a host and port."""
    ours = _at_port(port, listeners)
    if not ours:
        return False
    heard = [address for each in ours for address in await _addresses(each, port)]
    return any(answers(asked, heard, _is_of_this_machine) for asked in await _addresses(host, port))


def _at_port(port: int, listeners: Collection[str]) -> list[str]:
    """The hosts of those that listen at a port."""
    return [host for host, number in map(ENDPOINT.read, listeners) if number == port]


async def _addresses(host: str, port: int) -> list[Address]:
    """All addresses of a host; none if they cannot be resolved in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return []
    return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def answers(asked: Address, heard: Collection[Address], is_here: Callable[[Address], bool]) -> bool:
    """Whether a listener on one of these addresses of this machine accepts a connection to an address.

    `is_here` tells whether an address belongs to this machine. A listener on all addresses of one version of IP accepts
    none of the other: 0.0.0.0 and :: differ. A connection to them, as Linux makes it, is one to the loopback address,
    and one to an IPv4-mapped address (RFC 4291 section 2.5.5.2) one over IPv4.
    """
    if isinstance(asked, IPv6Address) and asked.ipv4_mapped:
        asked = asked.ipv4_mapped
    if asked.is_unspecified:
        asked = ip_address("127.0.0.1" if asked.version == 4 else "::1")
    if asked in heard:
        return True
    listens_on_all = any(each.is_unspecified and each.version == asked.version for each in heard)
    return listens_on_all and is_here(asked)


def _is_of_this_machine(address: Address) -> bool:
    """Whether a process can listen on an address, which it can only on those of this machine."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family) as listener:
            listener.bind((str(address), 0))
    except OSError:
        return False
    return True


def _circle(route: Route) -> LeadsBack:
    return LeadsBack(
        f"The route for {route.match} leads back to this server ({shown(route.to)}): mail would go in a circle."
    )


async def _look_at_server(route: Route, server: OurServer) -> tuple[str, str]:
    """Connect to a mail server until it is ready for a message. Returns the obstacle, in its words and in Waypost's."""
    domain = route.match.rpartition("@")[2]
    if route.to == "mx:" and not re.fullmatch(r"[^:*]+", domain):
        return "", ""  # it depends on the address
    if route.target.mx is not None and await _is_mail_host(route.target.mx or domain, server):
        raise _circle(route)
    timeouts = Timeouts(connect=SECONDS, greeting=SECONDS, command=SECONDS)
    transport = SmtpTransport(hostname=server.hostname, timeouts=timeouts, resolve=server.resolver)
    try:
        found = await transport.look(route, domain)
    finally:
        await transport.close()
    if found and found.trouble is Trouble.IS_OURSELVES:
        raise _circle(route)
    if found is None:
        return "", ""
    words = " ".join(filter(None, [str(found.code or ""), found.text]))
    return f"{found.stage}: {words}", f"{found.stage}: {found.code or found.trouble}"


async def _is_mail_host(domain: str, server: OurServer) -> bool:
    """Whether the first mail host of a domain is this server, under any name."""
    if not _at_port(SMTP_PORT, server.listeners):
        return False
    try:
        best, *_ = await server.resolver.mail_hosts(domain)
    except (NullMx, NoSuchDomain, DnsFailed):  # the attempt to connect, which comes next, says so
        return False
    return await _is_answered_here(best, SMTP_PORT, server.listeners)


async def _look_at_webhook(route: Route) -> str:
    """Connect to a webhook, as far as TLS; it is sent nothing. Only addresses that a delivery would use are tried."""
    target = route.target
    try:
        async with asyncio.timeout(SECONDS):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            hosts = dict.fromkeys(str(each[4][0]) for each in found)
            allowed = [host for host in hosts if route.allow_private or is_public(host)]
            if not allowed:
                where = ", ".join(hosts)
                return f"{target.host} is only at private addresses ({where}), and the route has no allow_private"
            writer = await _connected(allowed, target)
    except TimeoutError:
        return f"{target.host} did not answer in {SECONDS:g} s"
    except (OSError, UnicodeError) as error:
        return why(error)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


async def _connected(addresses: Sequence[str], target: Target) -> asyncio.StreamWriter:
    """A connection to the first of these addresses that takes one. Raises `OSError` of the last, if none does."""
    context = ssl.create_default_context() if target.is_tls else None
    name = target.host.removesuffix(".") if target.is_tls else None
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return (await asyncio.open_connection(address, target.port, ssl=context, server_hostname=name))[1]
    return (await asyncio.open_connection(last, target.port, ssl=context, server_hostname=name))[1]
