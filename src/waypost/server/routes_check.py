"""Checks that the target of a route can be reached, and that the route does not lead back to this server."""

import asyncio
import random
import re
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

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
from waypost.host import run_file
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.server.opening import Refused

SECONDS = 10.0
"""The maximum number of seconds that the target of a route may take to answer."""

SMTP_PORT = 25
"""The port on which mail hosts that are found in the DNS accept mail."""

Address = IPv4Address | IPv6Address


class LeadsBack(Refused):
    """The route leads back to this server, so mail would go in a loop."""

    reason = "it leads back to this server"
    """The reason for the refusal as it appears in the log event."""


class Unreachable(Refused):
    """The target of a route does not exist, or cannot be used. The error message gives the reason."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The reason for the refusal as it appears in the log event, without file paths or text from the peer."""


class OurServer(Struct, frozen=True, kw_only=True):
    """The server for which a route is checked."""

    hostname: str
    """The host name with which the server introduces itself."""
    listeners: Collection[str]
    """All addresses on which the server accepts mail, as HOST:PORT.

    The host can be a host name, an IP address, or an unspecified address (0.0.0.0 or ::).
    """
    resolver: Resolver

    @classmethod
    def of(cls, settings: Settings) -> "OurServer":
        """Return a description of the server that these settings would start."""
        listeners = [str(endpoint) for endpoints in settings.mail_endpoints.values() for endpoint in endpoints]
        resolver = Resolver(settings.dns, shuffler=random.SystemRandom())
        return cls(hostname=settings.real_hostname, listeners=listeners, resolver=resolver)

    @classmethod
    def running(cls, run: run_file.Run) -> "OurServer":
        """Return a description of a running server."""
        settings = Settings(hostname=run.hostname, dns=understood(RESOLVERS, run.dns, "dns"))
        return replace(cls.of(settings), listeners=run.listeners)


async def refuse_loops(routes: Sequence[Route], server: OurServer) -> None:
    """Raise `LeadsBack` if any of the given routes leads to this server."""
    checks = (refuse_loop(route, server.listeners) for route in routes)
    for found in await asyncio.gather(*checks, return_exceptions=True):
        if found:
            raise found


async def log_unreachable(routes: Sequence[Route], server: OurServer, emit: events.Emit) -> None:
    """Log the routes whose targets cannot be reached now, and the routes that lead back to this server.

    Mail for such a route stays in the queue.
    """
    for route in routes:
        try:
            await check(route, server)
        except (LeadsBack, Unreachable) as error:
            emit(
                events.RouteUnreachable(
                    route=route.log_name, destination=log_destination(route.to), reason=error.reason
                )
            )
        except Exception as error:  # noqa: BLE001 - a bug in Waypost must not stop the checks of the other routes
            Incidents(emit, of_store=()).report(error, where="routes")


async def check_route(route: Route, server: OurServer) -> None:
    """Check that the target of a route exists. Raises `Refused` with a message that names a remedy."""
    try:
        await check(route, server)
    except LeadsBack:
        raise
    except Refused as error:
        raise Refused(
            f"{error}. Fix the problem first, or set the route with --unchecked; its mail then waits in the queue."
        ) from error


async def check(route: Route, server: OurServer) -> None:
    """Check that a route can be used now.

    Raises `LeadsBack` if the target is this server, and `Unreachable` if the target does not exist or cannot be used.
    """
    if route.is_inbox or route.fault:
        return
    await refuse_loop(route, server.listeners)
    target = route.target
    match target.protocol:
        case Protocol.SMTP | Protocol.LMTP:
            found, reason = await _check_server(route, server)
        case Protocol.MAILDIR:
            found = await asyncio.to_thread(maildir_directories.why_not_usable, Path(target.path))
            reason = "its directory does not exist, or cannot be used"
        case Protocol.WEBHOOK:
            found = reason = await _check_webhook(route)
        case never:
            assert_never(never)
    if found:
        raise Unreachable(f"{shown(route.to)} cannot be reached: {redact.one_line(found)}", reason)


async def refuse_loop(route: Route, listeners: Collection[str]) -> None:
    """Raise `LeadsBack` if the host and port of a route belong to one of the given listeners.

    Each of the `listeners` has the form HOST:PORT. The function resolves host names, so it recognizes this server under
    any name or address. A route whose host cannot be resolved is not treated as leading back to this server.
    """
    target = None if route.is_inbox else route.target
    if target and target.host and await _is_answered_here(target.host, target.port, listeners):
        raise _loop(route)


async def _is_answered_here(host: str, port: int, listeners: Collection[str]) -> bool:
    """Whether a connection to a host and port reaches one of this server's listeners."""
    ours = _at_port(port, listeners)
    if not ours:
        return False
    bound = [address for each in ours for address in await _addresses(each, port)]
    return any(answers(target, bound, _is_of_this_machine) for target in await _addresses(host, port))


def _at_port(port: int, listeners: Collection[str]) -> list[str]:
    """Return the hosts of the listeners that use the given port."""
    return [host for host, number in map(ENDPOINT.read, listeners) if number == port]


async def _addresses(host: str, port: int) -> list[Address]:
    """Return all IP addresses of a host, or an empty list if the host cannot be resolved in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return []
    return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def answers(target: Address, bound: Collection[Address], is_here: Callable[[Address], bool]) -> bool:
    """Whether a listener that is bound to the addresses `bound` accepts a connection to the address `target`.

    `is_here` returns whether an address belongs to this machine. A listener on 0.0.0.0 accepts only IPv4 connections,
    and a listener on :: accepts only IPv6 connections. On Linux, a connection to 0.0.0.0 or :: goes to the loopback
    address, and a connection to an IPv4-mapped address (RFC 4291 section 2.5.5.2) uses IPv4.
    """
    if isinstance(target, IPv6Address) and target.ipv4_mapped:
        target = target.ipv4_mapped
    if target.is_unspecified:
        target = ip_address("127.0.0.1" if target.version == 4 else "::1")
    if target in bound:
        return True
    listens_on_all = any(each.is_unspecified and each.version == target.version for each in bound)
    return listens_on_all and is_here(target)


def _is_of_this_machine(address: Address) -> bool:
    """Whether an address belongs to this machine. The function tries to bind a socket to the address, which is possible
    only for addresses of this machine.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family) as listener:
            listener.bind((str(address), 0))
    except OSError:
        return False
    return True


def _loop(route: Route) -> LeadsBack:
    return LeadsBack(
        f"The route for {route.match} leads back to this server ({shown(route.to)}), so mail would go in a loop."
    )


async def _check_server(route: Route, server: OurServer) -> tuple[str, str]:
    """Connect to a mail server, and check that it is ready for a message.

    If there is a problem, returns two descriptions of it: one for people, with the mail server's reply, and one for the
    log, without the reply. If there is no problem, both descriptions are empty.
    """
    domain = route.match.rpartition("@")[2]
    if route.to == "mx:" and not re.fullmatch(r"[^:*]+", domain):
        return "", ""  # the mail host depends on the domain of each address
    if route.target.mx is not None and await _is_mail_host(route.target.mx or domain, server):
        raise _loop(route)
    timeouts = Timeouts(connect=SECONDS, greeting=SECONDS, command=SECONDS)
    transport = SmtpTransport(hostname=server.hostname, timeouts=timeouts, resolve=server.resolver)
    try:
        found = await transport.look(route, domain)
    finally:
        await transport.close()
    if found and found.trouble is Trouble.IS_OURSELVES:
        raise _loop(route)
    if found is None:
        return "", ""
    words = " ".join(filter(None, [str(found.code or ""), found.text]))
    return f"{found.stage}: {words}", f"{found.stage}: {found.code or found.trouble}"


async def _is_mail_host(domain: str, server: OurServer) -> bool:
    """Whether the preferred mail host of a domain is this server, under any of its names."""
    if not _at_port(SMTP_PORT, server.listeners):
        return False
    try:
        best, *_ = await server.resolver.mail_hosts(domain)
    except (NullMx, NoSuchDomain, DnsFailed):  # the connection attempt that follows reports the DNS failure
        return False
    return await _is_answered_here(best, SMTP_PORT, server.listeners)


async def _check_webhook(route: Route) -> str:
    """Connect to a webhook and perform the TLS handshake, but send no request. Return a description of the problem, or
    an empty string if there is no problem.

    The check connects only to addresses that a delivery would use.
    """
    target = route.target
    try:
        async with asyncio.timeout(SECONDS):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            hosts = dict.fromkeys(str(each[4][0]) for each in found)
            allowed = [host for host in hosts if route.allow_private or is_public(host)]
            if not allowed:
                where = ", ".join(hosts)
                return f"{target.host} has only private addresses ({where}), and the route does not set allow_private"
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
    """Connect to the first of the given addresses that accepts a connection.

    Raises the `OSError` of the last attempt if no address accepts a connection.
    """
    context = ssl.create_default_context() if target.is_tls else None
    name = target.host.removesuffix(".") if target.is_tls else None
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return (await asyncio.open_connection(address, target.port, ssl=context, server_hostname=name))[1]
    return (await asyncio.open_connection(last, target.port, ssl=context, server_hostname=name))[1]
