"""The only file that knows everything: from settings to a service that can be started and stopped."""

import asyncio
import gc
import os
import random
import stat
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from waypost.api.asgi import Api
from waypost.api.operations.calls import Terms
from waypost.api.operations.page_tokens import PageTokens
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import access_keys, instances
from waypost.app.directory.email_addresses import Domains
from waypost.app.mail import accept
from waypost.app.mail.routes import list_routes
from waypost.app.rate_limits import FailedSignatures
from waypost.config.settings import Authentication, Clock, Settings
from waypost.config.types import SELF_SIGNED, Endpoint
from waypost.delivery.maildir import MaildirTransport
from waypost.delivery.outgoing import Transports
from waypost.delivery.queue.worker import Worker, Works
from waypost.delivery.smtp_client.connection import Timeouts
from waypost.delivery.smtp_client.dns import Resolver
from waypost.delivery.smtp_client.transport import SmtpTransport
from waypost.delivery.webhook import WebhookTransport
from waypost.domain import errors
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Route
from waypost.host import data_directory, sealing
from waypost.host.clock import VirtualClock, now
from waypost.host.disk import DiskGuard
from waypost.host.private_files import Exposure, Risk
from waypost.inspection import asgi
from waypost.mailauth.checker import Checker
from waypost.observe import events, logs, tasks
from waypost.server import open_files, opening, routes_check, signals
from waypost.server.http.limits import HttpBounds
from waypost.server.http.server import HttpServer
from waypost.server.maintenance import Upkeep
from waypost.server.opening import CannotStart, adopting, open_store
from waypost.smtp.backend.reception import House, Ids
from waypost.smtp.limits.admission import Admission
from waypost.smtp.limits.memory import Memory
from waypost.smtp.limits.timeouts import Bounds
from waypost.smtp.protocol.capabilities import Offer
from waypost.smtp.server import tls
from waypost.smtp.server.connection import Listener
from waypost.smtp.server.listener import SmtpServer

Start = Callable[[str, int], Awaitable[tuple[str, int]]]
"""Starts an edge on a host and port; returns the real ones. Raises `OSError`."""


class Service:
    """Everything that `waypost serve` runs, on one event loop."""

    def __init__(self, settings: Settings, *, warn: Callable[[str], None] = lambda _: None) -> None:
        """`warn` is given sentences about what the person who starts the server should look at."""
        self.settings = settings
        self._warn = warn
        self._virtual_clock = VirtualClock() if settings.clock is Clock.VIRTUAL else None
        self._mail_clock: ports.Clock = self._virtual_clock or now
        self.directory = data_directory.DataDirectory(settings.data)
        self._log = logs.Log()
        self._emit = self._log.emit
        self._certificates_in_use: tls.Certificates | None = None

    async def run(self, when_ready: Callable[[data_directory.Run], None]) -> None:
        """Start, tell where everything is, and stop when asked to, as `signals` says."""
        asked = signals.Signals(self.reopen)
        run = await self.start()
        # Before, there is nothing to finish: a signal ends us at once, also while another server migrates.
        asked.obey()
        # What was made so far stays for ever; the garbage collector need not look at it again and again. And what
        # a call or a message makes is no garbage for it, nearly always, so it need not look as often as it would.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000)
        try:
            when_ready(run)
            self._emit(events.Stopping(signal=await asked.asked_to_stop()))
        finally:
            await self.stop()

    async def start(self) -> data_directory.Run:
        """Open the store and both edges; returns where they are.

        Raises `CannotStart`, `DataDirectoryError`; what was opened by then is closed again.
        """
        try:
            async with AsyncExitStack() as opened:
                run = await self._start(opened)
                self._opened = opened.pop_all()
        except (ports.StoreUnavailable, errors.WaypostError, opening.Refused) as error:
            self._log.close()
            raise CannotStart(str(error)) from error
        except BaseException:
            self._log.close()
            raise
        return run

    def reopen(self) -> None:
        """Read the certificate files again, as after a change; nothing else is kept open that can be replaced."""
        if self._certificates_in_use:
            self._certificates_in_use.reload()
        self._emit(events.Reopened())

    async def _start(self, opened: AsyncExitStack) -> data_directory.Run:
        settings = self.settings
        exposures = self.directory.prepare()
        opened.callback(self.directory.release)
        for exposure in exposures:
            self._emit(_event_of(exposure))
            self._warn(exposure.sentence)
        as_set, file_routes = routes_check.OurServer.of(settings), self._routes_of_file()
        await routes_check.refuse_circles(file_routes, as_set)  # before the listeners and the worker start
        database = self.directory.where(settings.database)
        self._store = open_store(self.directory, database, connections=settings.database_connections)
        opened.push_async_callback(self._store.close)
        self._is_shared, started_at = bool(database), self._mail_clock()
        if database:
            self.directory.remember_database(database)
        tenant = await self._tenant_to_start_with()
        self.instance_id = await self._store.write(partial(_instance_to_start_with, tenant=tenant, now=now()))
        failures = FailedSignatures()
        api = Api(
            self._store,
            terms=self._terms(owner=tenant.account),
            limits=settings.limits,
            older_regions=await self._store.search(lambda tx: tx.regions()),
            failures=failures,
            clock=now,
            emit=self._emit,
        )
        deployment, ids = self._deployment(owner=tenant.account), Ids()
        worker = self._worker(deployment, ids)
        console = asgi.application(
            self._store,
            deployment=deployment,
            failures=failures,
            clock=now,
            mail_clock=self._mail_clock,
            emit=self._emit,
            wake=worker.wake,
            advance=self._advance(worker),
            refusal_retention=settings.trace_refusals,
            own_names=settings.own_http_names,
        )
        connections = self._connections()
        http_bounds = HttpBounds(connections=connections.http, connections_each=settings.http_connections_each)
        http = HttpServer(_by_path(console, api), bounds=http_bounds, emit=self._emit)
        smtp = await self._mail(opened, deployment, ids, worker, connections.smtp)
        await worker.start()
        opened.push_async_callback(worker.stop)
        http_address = await self._listen("http", settings.http, http.start)
        opened.push_async_callback(http.stop)
        opened.push_async_callback(smtp.stop)
        addresses = dict.fromkeys(("smtp", "smtps", "lmtp"), "")
        for listener in _mail_listeners(settings):
            for endpoint in settings.mail_endpoints[listener.name]:
                found = await self._listen(listener.name, endpoint, partial(smtp.start, listener))
                addresses[listener.name] = addresses[listener.name] or found
        self._keeping = self._upkeep(started_at)
        opened.callback(tasks.start(self._keeping.run(), where="upkeep", emit=self._emit).cancel)
        run = data_directory.Run(
            http_address,
            addresses["smtp"],
            smtps=addresses["smtps"],
            lmtp=addresses["lmtp"],
            listeners=[str(Endpoint(*address)) for address in smtp.addresses],
            hostname=settings.real_hostname,
            dns=",".join(map(str, settings.dns)),
            config=_absolute(settings.config),
            routes=[routes.without_secret(route) for route in self.settings.routes],
        )
        if settings.tls_certificate == SELF_SIGNED:
            run = replace(run, certificate=_absolute(self.directory.certificate))
        looked_at = [*file_routes, *await self._store.read(list_routes)]
        looking = routes_check.tell(looked_at, replace(as_set, listeners=run.listeners), self._emit)
        opened.callback(tasks.start(looking, where="routes", emit=self._emit).cancel)
        self.directory.announce(run)
        return run

    def _routes_of_file(self) -> list[Route]:
        """The routes of the settings file; that for notices is one of them."""
        via = self.settings.delivery.bounces_via
        return [*self.settings.routes, *([via] if via else [])]

    def _deployment(self, *, owner: str) -> Deployment:
        """What the use cases of mail go by. `owner` is the account of the server's owner."""
        delivery, directory = self.settings.delivery, self.directory
        return Deployment(
            hostname=self.settings.real_hostname,
            loop_key=directory.derived_key("loop tokens"),
            routes=self.settings.routes,
            routes_revision=routes.revision(self.settings.routes) if self.settings.routes else "",
            policy=delivery.policy,
            bounces=delivery.bounces,
            bounces_via=delivery.bounces_via,
            confirm_outside=delivery.confirm_outside,
            delay_warning=delivery.delay_warning,
            srs_domain=delivery.srs_domain,
            srs_key=lru_cache(maxsize=8)(lambda period: directory.derived_key(f"rewritten senders {period}")),
            owner=owner,
            subaddressed=self.settings.subaddressing,
            own_domains=delivery.own_domains,
        )

    def _worker(self, deployment: Deployment, ids: Ids) -> Worker:
        """The sending edge, which has not begun yet."""
        hostname = self.settings.real_hostname
        resolver = Resolver(self.settings.dns, shuffler=random.SystemRandom())
        smtp = SmtpTransport(hostname=hostname, timeouts=Timeouts(), resolve=resolver)
        transports = Transports(smtp=smtp, maildir=MaildirTransport(hostname), webhook=WebhookTransport())
        return Worker(
            Works(
                store=self._store,
                deployment=deployment,
                transports=transports.by_protocol(),
                clock=self._mail_clock,
                emit=self._emit,
                new_id=lambda: ids.new(self._mail_clock()),
                connections=self.settings.delivery.connections,
                is_shared=self._is_shared,
            )
        )

    def _advance(self, worker: Worker) -> Callable[[timedelta], Awaitable[datetime]] | None:
        """What moves the time on, if it can be."""
        clock = self._virtual_clock
        if clock is None:
            return None

        one_at_a_time = asyncio.Lock()

        async def advance(by: timedelta) -> datetime:
            async with one_at_a_time:
                moment = await clock.advance(by, worker.rest)
                await self._keeping.forget_refusals()
                await self._keeping.purge()
                return moment

        return advance

    def _upkeep(self, started_at: datetime) -> Upkeep:
        # On a file of its own, nothing else can be taking in what was begun before this server.
        begun_before = self._mail_clock() - accept.LONGEST_TRANSFER if self._is_shared else started_at
        return Upkeep(
            store=self._store,
            emit=self._emit,
            real_clock=now,
            mail_clock=self._mail_clock,
            token_retention=self.settings.token_retention,
            refusal_retention=self.settings.trace_refusals,
            rules=self.settings.retention,
            begun_before=begun_before,
        )

    async def _mail(
        self, opened: AsyncExitStack, deployment: Deployment, ids: Ids, worker: Worker, connections: int
    ) -> SmtpServer:
        """The receiving edge, which does not listen yet."""
        settings = self.settings
        bounds = Bounds(
            connections=connections,
            connections_each=settings.smtp_connections_each,
            new_connections_a_minute=settings.smtp_new_connections_each,
            messages_a_minute=settings.smtp_messages_each,
            memory=settings.smtp_memory,
            greeting_delay=settings.greeting_delay.total_seconds(),
        )
        checker = None
        if settings.checks_senders:
            checker = Checker(
                settings.dns,
                lambda works: self._emit(events.DnsChanged(works=works)),
                start_task=partial(tasks.start, where="authentication", emit=self._emit),
            )
            await checker.start()
            opened.push_async_callback(checker.stop)
        reserve, reusable = settings.disk_reserve, self._store.reusable_octets
        guard = DiskGuard(self.directory.path, reserve, emit=self._emit, reusable=reusable)
        house = House(
            store=self._store,
            deployment=deployment,
            clock=self._mail_clock,
            ids=ids,
            has_work=worker.wake,
            is_full=guard.is_full,
            emit=self._emit,
            admission=Admission(bounds),
            memory=Memory(bounds.memory),
            authenticator=checker,
            enforces=settings.authentication is Authentication.ENFORCE,
        )
        opened.push_async_callback(house.refusals.close)
        self._certificates_in_use = self._certificates(settings.tls_certificate) if settings.tls_certificate else None
        return SmtpServer(
            house,
            bounds=bounds,
            certificates=self._certificates_in_use,
            proxy_networks=settings.proxy_networks,
            trusted_networks=settings.trusted_networks,
        )

    def _connections(self) -> open_files.Connections:
        """How many connections of clients there may be. The server says so if they are fewer than were set."""
        settings, files = self.settings, open_files.most_files()
        wanted = open_files.Connections(settings.smtp_connections, settings.http_connections)
        others = 2 * self.settings.delivery.connections + (settings.database_connections if self._is_shared else 0)
        possible = open_files.connections_within(files, wanted, others=others)
        if possible != wanted:
            self._emit(
                events.ConnectionsLimited(connections=possible.smtp, http_connections=possible.http, files=int(files))
            )
        return possible

    def _certificates(self, certificate: Path) -> tls.Certificates:
        """The certificate for TLS: the one that was set, or one of our own making."""
        settings = self.settings
        if certificate == SELF_SIGNED:
            from waypost.host import certificates  # noqa: PLC0415 - it takes memory, and few make one

            hostname = settings.real_hostname
            certificate, key = self.directory.certificate, self.directory.certificate_key
            if not certificates.is_good(certificate, key, hostname, now()):
                self.directory.write_certificate(*certificates.self_signed(hostname, now()))
        else:
            key = settings.tls_key or certificate
            self._tell_of_readable(key)
        try:
            return tls.Certificates(
                tls.TlsFiles(certificate, key, settings.tls_clients),
                failed=lambda error: self._emit(events.CertificateRefused(reason=str(error))),
            )
        except tls.BadCertificate as error:
            raise CannotStart(str(error)) from error

    def _tell_of_readable(self, key: Path) -> None:
        """Warn if every user can read the key of the certificate. Its group may: distributions have one for that."""
        with suppress(OSError):  # it is said when the key is loaded
            mode = stat.S_IMODE(key.stat().st_mode)
            if mode & stat.S_IRWXO:
                self._emit(events.FileExposed(file=str(key), mode=f"{mode:04o}"))
                self._warn(f"Every user can use {key}, the key of the certificate (mode {mode:04o}): chmod o= {key}")

    async def stop(self) -> None:
        """Finish what was promised, then close everything, the last opened first."""
        try:
            await self._opened.aclose()
            self._emit(events.Stopped())
        finally:
            self._log.close()

    async def _tenant_to_start_with(self) -> Tenant:
        """The account and region of the owner's access key. The first start makes that key."""
        settings = self.settings
        await self._store.write(adopting(self.directory))
        if not self.directory.credentials.exists():
            new, _ = sealing.new_access_key(account=settings.account, user_name="root", now=now())
            key = await self._store.write(partial(access_keys.owners_key, new=new))
            self.directory.write_credentials(key, region=settings.region)
        profile = self.directory.profiles()[0]
        return Tenant(profile.key.account, profile.region)

    @property
    def where(self) -> str:
        """Where the data is, for people."""
        return self.directory.data_at

    def _terms(self, *, owner: str) -> Terms:
        own = {self.settings.domain_of_hostname, self.settings.delivery.srs_domain} - {""}
        return Terms(
            new_id=lambda: str(uuid.uuid4()),
            page_tokens=PageTokens(self.directory.derived_key("page tokens")),
            token_retention=self.settings.token_retention,
            email_address_quota=self.settings.limits.email_addresses,
            domains=Domains(
                shared=self.settings.shared_domains,
                subaddressed=self.settings.subaddressing,
                owner=owner,
                of_server=frozenset(own),
            ),
        )

    async def _listen(self, edge: str, endpoint: Endpoint, start: Start) -> str:
        try:
            real = Endpoint(*await start(endpoint.host, endpoint.port))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotStart(f"Cannot listen on {endpoint}: {reason}. Choose another with --{edge}.") from error
        self._emit(events.Listening(edge=edge, address=str(real)))
        return str(real)


def _event_of(exposure: Exposure) -> events.Event:
    """What other users can do with the data directory, for the log."""
    path, mode = str(exposure.path), f"{exposure.mode:04o}"
    match exposure.risk:
        case Risk.SHARED:
            return events.DataDirectoryShared(directory=path, mode=mode, group=exposure.group)
        case Risk.REPLACED:
            return events.DataDirectoryReplaceable(above=path, owner=exposure.owner)
        case Risk.MENDED:
            return events.FileMadePrivate(file=path, mode=mode)
        case Risk.EXPOSED:
            return events.FileExposed(file=path, mode=mode)


def _absolute(path: Path | None) -> str:
    return str(path.absolute()) if path else ""


def _mail_listeners(settings: Settings) -> list[Listener]:
    """What may be spoken."""
    offer = Offer(
        hostname=settings.real_hostname,
        offers_tls=bool(settings.tls_certificate),
        needs_tls=settings.tls_required,
        unknown_recipient_limit=settings.smtp_unknown_recipients,
    )
    return [
        Listener(name="smtp", offer=offer),
        Listener(name="smtps", offer=offer, is_tls=True),
        Listener(name="lmtp", offer=replace(offer, lmtp=True, needs_tls=False), are_strangers=False),
    ]


def _instance_to_start_with(tx: ports.WriteTx, *, tenant: Tenant, now: datetime) -> str:
    """The id of the tenant's oldest instance; made if there is none yet."""
    tx.hold("the first instance")
    oldest = instances.oldest(tx, tenant)
    if oldest:
        return oldest.id
    instance = Instance(
        id=str(uuid.uuid4()),
        tenant=tenant,
        alias=None,
        identity_management_type="CONNECT_MANAGED",
        directory_id=None,
        inbound_calls_enabled=False,
        outbound_calls_enabled=False,
        created_at=now,
    )
    return instances.create(tx, instance, tags={})


def _by_path(console: ASGIApp, api: ASGIApp) -> ASGIApp:
    """One ASGI application of two: Waypost's own paths, and AWS's."""
    prefix = f"{asgi.PREFIX}/".encode()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = console if scope["raw_path"].startswith(prefix) else api
        await chosen(scope, receive, send)

    return application
