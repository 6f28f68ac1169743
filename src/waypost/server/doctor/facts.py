"""Reads what `waypost doctor` checks: ports, disk, clock, DNS, certificates, permissions, limits, database, routes."""

import asyncio
import ctypes
import os
import random
import re
import resource
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from cryptography import x509
from msgspec import Struct

from waypost.app import ports
from waypost.app.mail.routes import list_routes
from waypost.app.ports.failures import STORE_FAILURES
from waypost.config import changes, sources
from waypost.config.settings import Settings
from waypost.delivery.smtp_client.connection import why
from waypost.delivery.smtp_client.dns import DnsFailed, NoSuchDomain, NullMx, Resolver
from waypost.domain.mail import routes as domain_routes
from waypost.domain.mail.routes import Route
from waypost.host.clock import now
from waypost.host.data_directory import DataDirectory, NotRunning
from waypost.host.directory_files import DataDirectoryError
from waypost.host.disk import free_octets
from waypost.host.run_file import Run, reachable_at
from waypost.net import certificates as tls
from waypost.net.certificates import TlsFiles
from waypost.server import opening, routes_check, settings_check, sockets, start_warnings
from waypost.server.assembly.certificates import http_files, mail_files
from waypost.server.assembly.common import needed_files, routes_of_settings
from waypost.server.doctor import checks
from waypost.server.doctor.checks import Certificate, Finding, Level, Port

SECONDS = 5.0
"""The time limit, in seconds, for a connection to the running server, and for the DNS."""

ROUTES_SECONDS = 20.0
"""The time limit, in seconds, for the connections to the targets of all routes together."""

ROUTES_AT_ONCE = 10
"""How many routes are checked at the same time."""

StoredRoutes = Callable[[], Awaitable[Sequence[Route]]]
"""Returns the routes in the store of a server."""

_TIME_ERROR = 5
"""The result of adjtimex(2) if the clock is not synchronized."""


class CheckedServer(Struct, frozen=True):
    """The server to check, which may be running or not."""

    settings: Settings
    directory: DataDirectory
    run: Run | None
    """The running server; None if no server is using the data directory."""
    stored_routes: StoredRoutes | None = None
    """Reads the routes from the store, if this process belongs to the server; None if it does not. Then the routes are
    read as other commands do, which can take the rights of another user for a moment.
    """
    ended: Run | None = None
    """A server that was killed, and whose `run.json` is left over."""

    @classmethod
    def of(cls, settings: Settings, stored_routes: StoredRoutes | None = None) -> "CheckedServer":
        """Return the server with these settings. Raises `DataDirectoryError`."""
        directory = DataDirectory(settings.data)
        try:
            run = directory.running()
        except NotRunning:
            return cls(settings, directory, None, stored_routes)
        if stored_routes is None and not directory.is_held():
            return cls(settings, directory, None, ended=run)
        return cls(settings, directory, run, stored_routes)

    @property
    def is_public(self) -> bool:
        """Whether other machines can send mail to the server."""
        endpoints = [each for several in self.settings.mail_endpoints.values() for each in several]
        return not all(each.is_loopback for each in endpoints)


async def examine(checked: CheckedServer) -> Sequence[Finding]:
    """Run all checks of a server, and return the findings.

    What can block runs in threads, so that a server can run the checks on its own event loop.
    """
    settings = checked.settings
    of_machine, of_tls = await asyncio.to_thread(_machine, checked), await asyncio.to_thread(_tls, settings)
    found, (facts, trouble, ahead), (name_error, is_failure) = await asyncio.gather(
        _ports(checked), asyncio.to_thread(_database, checked), _why_no_address(settings)
    )
    return [
        *await asyncio.to_thread(lambda: [*_settings(checked), *_server(checked)]),
        *checks.ports(found, is_running=checked.run is not None),
        *of_machine,
        *checks.clock(is_synchronized=_is_synchronized(), ahead_of_database=ahead),
        *checks.dns(settings.real_hostname, is_public=checked.is_public, error=name_error, is_failure=is_failure),
        *of_tls,
        *([Finding("database", Level.PROBLEM, trouble)] if trouble else []),
        *(checks.postgresql(facts, connections=settings.database_connections) if facts else []),
        *([Finding("database", Level.OK, "The data is in SQLite.")] if not facts and not trouble else []),
        *checks.routes(await _routes(checked)),
    ]


def _machine(checked: CheckedServer) -> Sequence[Finding]:
    """Check what can be read on this machine at once."""
    needed = needed_files(checked.settings, has_connections=_has_connections(checked))
    return [
        *_permissions(checked),
        *_disk(checked.settings),
        *checks.open_files(_file_limit(checked.run), needed=needed),
    ]


def _has_connections(checked: CheckedServer) -> bool:
    """Return whether the server connects to PostgreSQL. The data directory can remember its database."""
    try:
        return bool(checked.directory.where(checked.settings.database))
    except DataDirectoryError:  # the check of the database says why
        return bool(checked.settings.database)


def _settings(checked: CheckedServer) -> Iterator[Finding]:
    """Check the settings as `waypost serve --check` does."""
    settings, run = checked.settings, checked.run
    if checked.stored_routes is None:  # a server uses only valid settings, but the file may have changed since
        problems = list(settings_check.problems(settings))
        which = f"in {settings.config}" if settings.config else "of the environment and the options"
        for sentence in problems:
            yield Finding("settings", Level.PROBLEM, sentence)
        if not problems:
            yield Finding("settings", Level.OK, f"The settings {which} are valid.")
        if run and run.config and not settings.config:
            text = f"{run.config}, the server's settings file, cannot be used, so its routes and the host name were not"
            text += " checked."
            yield Finding("settings", Level.WARNING, f"{text} Name the file with --config to see why.")


def _server(checked: CheckedServer) -> Iterator[Finding]:
    where = checked.directory.path
    if checked.ended:
        text = f"The server that used {where} (process {checked.ended.pid}) has ended, and its run.json is left over."
        yield Finding("server", Level.WARNING, f"{text} It was killed. The next start removes the file.")
    elif checked.run is None:
        yield Finding("server", Level.WARNING, f"No server is using {where}.")
    else:
        yield Finding("server", Level.OK, f"A server is using {where} (process {checked.run.pid}).")
    if _holds_queue(checked):
        yield Finding("server", Level.WARNING, start_warnings.OF_HELD_QUEUE)


def _holds_queue(checked: CheckedServer) -> bool:
    """Whether the server was started with --hold-queue, which may be in an environment that this process cannot see."""
    if checked.run is None or checked.stored_routes is not None:
        return checked.settings.hold_queue
    held = changes.digests(sources.from_options(hold_queue="yes"))
    return checked.run.settings.get("hold_queue") == held["hold_queue"]


async def _ports(checked: CheckedServer) -> Sequence[Port]:
    """Connect to the addresses of the running server, or try to listen on the addresses in the settings."""
    if run := checked.run:
        addresses = [("http", run.http), ("https", run.https), ("metrics", run.metrics)]
        addresses += [("mail", address) for address in run.listeners]
        used = [(setting, address) for setting, address in addresses if address]
        errors = await asyncio.gather(*(_why_no_answer(address) for _, address in used))
        return [Port(setting, address, error) for (setting, address), error in zip(used, errors, strict=True)]
    found = []
    for setting, endpoints in checked.settings.endpoints.items():
        for endpoint in endpoints:
            error = ""
            try:
                bound = sockets.bind(setting, endpoint)
                for each in (each for several in bound for each in several):
                    each.close()
            except opening.CannotStart as failure:
                error = str(failure)
            found.append(Port(setting, str(endpoint), error))
    return found


async def _why_no_answer(address: str) -> str:
    host, _, port = reachable_at(address).rpartition(":")
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        return why(error)
    writer.close()
    return ""


def _permissions(checked: CheckedServer) -> Iterator[Finding]:
    problem = ""
    try:
        checked.directory.refuse_others()
    except DataDirectoryError as error:
        problem = str(error)
    path = checked.directory.path
    yield from checks.data_directory(problem, exists=path.exists(), path=str(path))
    with suppress(DataDirectoryError):  # the server reports a key that it cannot read
        directory = checked.directory
        yield from checks.master_key(
            has_previous=directory.master_keys.has_previous, path=directory.master_keys.previous_at
        )
    keys = {files.key for files in (mail_files(checked.settings), http_files(checked.settings)) if files}
    for key in sorted(keys):
        with suppress(OSError):  # an unreadable key is a finding about TLS
            yield from checks.key_file(str(key), stat.S_IMODE(key.stat().st_mode))


def _disk(settings: Settings) -> Iterator[Finding]:
    path = settings.data.absolute()
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    free_files = found.f_favail if found.f_files else None
    yield from checks.disk(
        str(settings.data), free=free_octets(path), reserve=settings.disk_reserve, free_files=free_files
    )


def _file_limit(run: Run | None) -> float:
    """Return the limit on open files of the running server's process, or the limit that a new process would have."""
    if run:
        with suppress(OSError):
            limits = Path(f"/proc/{run.pid}/limits").read_text(encoding="ascii")
            if found := re.search(r"^Max open files +\w+ +(\d+)", limits, re.MULTILINE):
                return float(found[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if hard == resource.RLIM_INFINITY else hard


def _is_synchronized() -> bool | None:
    """Return whether the kernel considers its clock synchronized (adjtimex(2)); None if this is not known."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # larger than any struct timex; reads only
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


async def _why_no_address(settings: Settings) -> tuple[str, bool]:
    """Return why the host name of the server has no address, or an empty string; and whether the DNS has failed."""
    resolver = Resolver(settings.dns, seconds=SECONDS, shuffler=random.SystemRandom())
    try:
        await resolver.mail_hosts(settings.real_hostname)
    except DnsFailed as error:
        return str(error), True
    except NoSuchDomain as error:
        return str(error), False
    except NullMx:
        pass  # the name exists, and wants no mail
    return "", False


def _tls(settings: Settings) -> Sequence[Finding]:
    """Check the certificates for mail and for HTTPS. A certificate for both is checked once."""
    hostname = settings.real_hostname
    found: list[Finding] = []
    mail, http = mail_files(settings), http_files(settings)
    if mail or not http:
        chain, error = _chain(mail)
        found += checks.tls(chain, hostname=hostname, error=error, now=now())
    if http and (mail is None or http.certificate != mail.certificate):
        chain, error = _chain(http)
        names = sorted(settings.http_names)
        found += checks.tls(chain, hostname=hostname, names=names, error=error, now=now(), of="for HTTPS")
    return found


def _chain(files: TlsFiles | None) -> tuple[Sequence[Certificate], str]:
    """Return the certificates in the certificate file, or why it cannot be used."""
    if files is None:
        return [], ""
    try:
        tls.load(files)
        found = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    except (tls.BadCertificate, OSError, ValueError) as error:
        return [], str(error)
    return [_certificate(each) for each in found], ""


def _certificate(found: x509.Certificate) -> Certificate:
    names: Sequence[str] = ()
    with suppress(x509.ExtensionNotFound):
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    return Certificate(
        found.subject.rfc4514_string(),
        found.issuer.rfc4514_string(),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        names,
    )


def _database(checked: CheckedServer) -> tuple[Mapping[str, str], str, float | None]:
    """Return settings of the PostgreSQL server, or why it cannot be used; and the number of seconds by which this clock
    is ahead of its clock. All are empty with SQLite.
    """
    try:
        url = checked.directory.where(checked.settings.database)
        facts, ahead = opening.postgresql_settings(url) if url else ({}, None)
    except (opening.CannotStart, DataDirectoryError, ports.StoreUnavailable) as error:
        return {}, str(error), None
    return facts, "", ahead


async def _routes(checked: CheckedServer) -> Mapping[str, str | None]:
    """Connect to the targets of all routes. Return for each why it cannot be used now, or an empty string; None if
    there was no time to check it.
    """
    found = list(routes_of_settings(checked.settings))
    if checked.run:  # otherwise the schema of the database may be older, and would be migrated
        with suppress(opening.CannotStart, opening.Refused, *STORE_FAILURES):  # the check of the database says why
            found += await (checked.stored_routes or partial(_routes_of_another_process, checked))()
        server = routes_check.OurServer.running(checked.run)
    else:
        server = routes_check.OurServer.of(checked.settings)
    errors: dict[str, str | None] = {}
    slots = asyncio.Semaphore(ROUTES_AT_ONCE)

    async def check(name: str, route: Route) -> None:
        async with slots:
            errors[name] = await _why_not_usable(route, server)

    with suppress(TimeoutError):
        async with asyncio.timeout(ROUTES_SECONDS), asyncio.TaskGroup() as group:
            for route in found:
                name = f"{route.match} to {domain_routes.shown(route.to)}"
                errors[name] = None
                group.create_task(check(name, route))
    return errors


async def _routes_of_another_process(checked: CheckedServer) -> Sequence[Route]:
    return await opening.administer(checked.directory, list_routes, database=checked.settings.database)


async def _why_not_usable(route: Route, server: routes_check.OurServer) -> str:
    try:
        await routes_check.check(route, server)
    except opening.Refused as error:
        return str(error)
    return ""
