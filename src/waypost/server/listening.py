"""Listens on the addresses in the settings, and says what clients and commands must know of a running service."""

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from waypost.config.settings import Settings
from waypost.config.types import SELF_SIGNED, Endpoint
from waypost.host import run_file
from waypost.host.data_directory import DataDirectory
from waypost.net.certificates import Certificates
from waypost.observe import events
from waypost.server import sockets
from waypost.server.supervisor.worker_process import WorkerProcess

StartListening = Callable[[socket.socket], Awaitable[None]]
"""Starts to listen on a bound socket."""


async def listen(
    edge: str,
    endpoints: Sequence[Endpoint],
    start: StartListening,
    *,
    process: WorkerProcess | None,
    emit: events.Emit,
) -> str:
    """Listen on endpoints. Return the actual HOST:PORT of the first one, even if the given port is 0, or an empty
    string if there is none. Raises `CannotStart`.

    `edge` is the name of the setting with the endpoints. A worker process has sockets that are already bound.
    """
    addresses = []
    for place, endpoint in enumerate(endpoints):
        bound = process.sockets[edge, place] if process else sockets.bind(edge, endpoint)[0]
        for each in bound:
            await start(each)
        address = str(Endpoint(*bound[0].getsockname()[:2]))
        emit(events.Listening(edge=edge, address=address))
        addresses.append(address)
    return addresses[0] if addresses else ""


def run_of(
    settings: Settings,
    directory: DataDirectory,
    *,
    http: str,
    https: str,
    metrics: str,
    mail: Mapping[str, str],
    listeners: Sequence[tuple[str, int]],
    certificates: Certificates | None,
) -> run_file.Run:
    """Return the addresses and files of a running service, for clients and commands.

    `http`, `https` and `metrics` are the first addresses of these listeners, and `mail` those of the listeners for
    mail, by their names; each is empty if there is none. `listeners` are all addresses for mail, and `certificates` are
    those for HTTPS, if there are any.
    """
    is_own = settings.real_https_certificate == SELF_SIGNED
    authority = directory.certificate if is_own else settings.https_authority
    return run_file.Run(
        http,
        mail["smtp"],
        smtps=mail["smtps"],
        lmtp=mail["lmtp"],
        metrics=metrics,
        certificate=_absolute(directory.certificate) if settings.tls_certificate == SELF_SIGNED else "",
        listeners=[str(Endpoint(*address)) for address in listeners],
        hostname=settings.real_hostname,
        dns=",".join(map(str, settings.dns)),
        config=_absolute(settings.config),
        https=https,
        https_name=_name_for(https, settings, certificates) if https else "",
        https_authority=_absolute(authority) if https else "",
    )


def _name_for(address: str, settings: Settings, certificates: Certificates | None) -> str:
    """Return the host name or IP address for URLs with HTTPS, if possible one for which the certificate is valid: the
    server's host name, or first the address if the server listens only on loopback.
    """
    host = run_file.reachable(run_file.Run(address, "")).http.rpartition(":")[0].strip("[]")
    facts = certificates.facts() if certificates else None
    wanted = [settings.real_hostname, host]
    if settings.https[0].is_loopback:
        wanted.reverse()
    return facts.host_for(*wanted) if facts else host


def _absolute(path: Path | None) -> str:
    return str(path.absolute()) if path else ""
