"""Whether a route leads anywhere, and not back to here: found out when it is set, before mail waits for it."""

import asyncio
import os
import random
import re
import socket
import ssl
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from waypost import datadir, events
from waypost.delivery.connection import Timeouts, why
from waypost.delivery.dns import Resolver
from waypost.delivery.public import is_public
from waypost.delivery.smtp import SmtpTransport
from waypost.domain import discretion
from waypost.domain.delivery import Protocol, Trouble
from waypost.domain.routes import Route
from waypost.opening import Refused
from waypost.settings import host_and_port

SECONDS = 10.0
"""How long a host may take to answer."""


class LeadsBack(Refused):
    """Mail would go in a circle."""


@dataclass(frozen=True, kw_only=True)
class Looker:
    """Looks at the routes of a settings file, as a server starts."""

    routes: Sequence[Route]
    hostname: str
    ours: Collection[str]
    """The addresses that we listen on, as HOST:PORT."""
    resolver: Resolver
    emit: events.Emit

    async def refuse_circles(self) -> None:
        """Raise `LeadsBack` if one leads to this very server: nobody should have to look for such a mistake."""
        for route in self.routes:
            await refuse_circle(route, self.ours)

    async def tell(self) -> None:
        """Tell the log which routes lead nowhere now. Mail for them waits."""
        for route in self.routes:
            try:
                await check(route, hostname=self.hostname, ours=self.ours, resolver=self.resolver)
            except Refused as error:
                self.emit(events.RouteUnreachable(route=route.match, destination=route.to, reason=str(error)))


async def check_route(route: Route, directory: datadir.DataDirectory) -> None:
    """Look whether the destination of a route is there. Raises `Refused`, saying what to do."""
    ours = set()
    with suppress(datadir.DataDirectoryError):  # no server is running
        run = directory.running()
        ours = {run.smtp, run.smtps, run.lmtp}
    resolver = Resolver(shuffler=random.SystemRandom())
    try:
        await check(route, hostname=socket.gethostname(), ours=ours, resolver=resolver)
    except LeadsBack:
        raise
    except Refused as error:
        raise Refused(f"{error}. Mend that first, or set the route with --unchecked: mail for it waits.") from error


async def check(route: Route, *, hostname: str, ours: Collection[str], resolver: Resolver) -> None:
    """Raise `Refused`, and say why, if the destination of a route is not there; `LeadsBack`, if that is this server.

    `ours` are the addresses that we listen on, as HOST:PORT.
    """
    if route.is_inbox or route.fault:
        return
    await refuse_circle(route, ours)
    target = route.target
    if target.protocol is Protocol.MAILDIR:
        reason = await asyncio.to_thread(_look_at_directory, Path(target.path))
    elif target.protocol is Protocol.WEBHOOK:
        reason = await _look_at_webhook(route)
    else:
        reason = await _look_at_server(route, hostname, resolver)
    if reason:
        raise Refused(f"{route.to} cannot be reached: {discretion.one_line(reason)}")


async def refuse_circle(route: Route, ours: Collection[str]) -> None:
    """Raise `LeadsBack` if a route leads to one of the addresses that we listen on, however it is written."""
    target = None if route.is_inbox else route.target
    listeners = [host_and_port("", address) for address in ours if address]
    hosts = {host for host, port in listeners if target and port == target.port}
    if target is None or not target.host or not hosts:
        return
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # nobody knows where it is
    if any(_is_heard(str(each[4][0]), hosts) for each in found):
        raise _circle(route)


def _is_heard(address: str, hosts: Collection[str]) -> bool:
    """Whether who connects to an address meets somebody who listens on one of these hosts of this machine."""
    heard = [ip_address("127.0.0.1" if host == "localhost" else host) for host in hosts]
    asked = ip_address(address.partition("%")[0])
    if asked in heard or (asked.is_unspecified and any(host.is_loopback for host in heard)):
        return True
    return any(host.is_unspecified for host in heard) and _is_of_this_machine(asked)


def _is_of_this_machine(address: IPv4Address | IPv6Address) -> bool:
    """Whether one may listen on an address, which one may on those of this machine alone."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family) as listener:
        try:
            listener.bind((str(address), 0))
        except OSError:
            return False
    return True


def _circle(route: Route) -> LeadsBack:
    return LeadsBack(f"The route for {route.match} leads back to this server ({route.to}): mail would go in a circle.")


async def _look_at_server(route: Route, hostname: str, resolver: Resolver) -> str:
    """Go as far as a mail server that is ready for a message."""
    domain = route.match.rpartition("@")[2]
    if route.to == "mx:" and not re.fullmatch(r"[^:*]+", domain):
        return ""  # it depends on the address
    timeouts = Timeouts(connect=SECONDS, greeting=SECONDS, command=SECONDS)
    transport = SmtpTransport(hostname=hostname, timeouts=timeouts, resolve=resolver)
    try:
        found = await transport.look(route, domain)
    finally:
        await transport.close()
    if found and found.trouble is Trouble.IS_OURSELVES:
        raise _circle(route)
    return f"{found.stage}: {' '.join(filter(None, [str(found.code or ''), found.text]))}" if found else ""


def _look_at_directory(maildir: Path) -> str:
    """What is in the way of writing there: the Maildir itself is made, but not where it is."""
    place = maildir if maildir.exists() else maildir.parent
    if not place.is_dir():
        return f"{place} is no directory"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written"


async def _look_at_webhook(route: Route) -> str:
    """Connect to a webhook, as far as TLS; it is sent nothing."""
    target = route.target
    try:
        async with asyncio.timeout(SECONDS):
            context = ssl.create_default_context() if target.is_tls else None
            _, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    except TimeoutError:
        return f"{target.host} did not answer in {SECONDS:g} s"
    except (OSError, UnicodeError) as error:
        return why(error)
    address = writer.get_extra_info("peername")[0]
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    if not route.allow_private and not is_public(address):
        return f"{address} is a private address, and the route has no allow_private"
    return ""
