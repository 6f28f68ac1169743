"""Whether a route leads anywhere, and not back to here: found out when it is set, before mail waits for it."""

import asyncio
import os
import random
import re
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from waypost import datadir
from waypost.delivery.connection import Timeouts
from waypost.delivery.dns import Resolver
from waypost.delivery.smtp import SmtpTransport
from waypost.domain.delivery import Protocol
from waypost.domain.routes import Route, Target
from waypost.opening import Refused

SECONDS = 10.0
"""How long a host may take to answer."""


async def check_route(route: Route, directory: datadir.DataDirectory) -> None:
    """Look whether the destination of a route is there. Raises `Refused`, saying what to do."""
    ours = set()
    with suppress(datadir.DataDirectoryError):  # no server is running
        run = directory.running()
        ours = {run.smtp, run.smtps, run.lmtp}
    resolver = Resolver(shuffler=random.SystemRandom())
    await check(route, hostname=socket.gethostname(), ours=ours, resolver=resolver)


async def check(route: Route, *, hostname: str, ours: Collection[str], resolver: Resolver) -> None:
    """As `check_route`. `ours` are the addresses that we listen on, as HOST:PORT. Raises `Refused`."""
    if route.is_inbox or route.fault:
        return
    refuse_circle(route, ours)
    target = route.target
    if target.protocol is Protocol.MAILDIR:
        reason = await asyncio.to_thread(_look_at_directory, Path(target.path))
    elif target.protocol is Protocol.WEBHOOK:
        reason = await _look_at_host(target)
    else:
        reason = await _look_at_server(route, hostname, resolver)
    if reason:
        raise Refused(f"{route.to} cannot be reached: {reason}. Start it first, or set the route with --unchecked.")


def refuse_circle(route: Route, ours: Collection[str]) -> None:
    """Raise `Refused` if a route leads to one of the addresses, as HOST:PORT, that we listen on."""
    if route.is_inbox:
        return
    target = route.target
    if f"{target.host}:{target.port}" in ours or f"[{target.host}]:{target.port}" in ours:
        raise Refused(
            f"The route for {route.match} to {route.to} leads back to this server: mail would go in a circle."
        )


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
    return f"{found.peer or route.to} at {found.stage}: {found.code or ''} {found.text}" if found else ""


def _look_at_directory(maildir: Path) -> str:
    """What is in the way of writing there: the Maildir itself is made, but not where it is."""
    place = maildir if maildir.exists() else maildir.parent
    if not place.is_dir():
        return f"{place} is no directory"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written"


async def _look_at_host(target: Target) -> str:
    """Connect to a webhook; it is sent nothing."""
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        return f"{target.host} did not answer in {SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
