"""A service: everything that one server runs on one event loop. The service starts and stops its parts in order."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from waypost.app import ports, resetting
from waypost.app.deployment import Deployment
from waypost.app.limit_state import OwnState
from waypost.app.mail import accept, mail_secrets
from waypost.app.mail.faults import FaultRules
from waypost.app.mail.routes import list_routes
from waypost.app.mail.wanted import NotesWanted
from waypost.app.ports.failures import STORE_FAILURES
from waypost.config.settings import FEWEST, Clock, ConsoleLink, Role, Settings
from waypost.config.types import Endpoint
from waypost.delivery.queue.worker import Worker
from waypost.domain import errors
from waypost.domain.directory.instances import Tenant
from waypost.domain.mailauth.mail_secrets import Generation, in_force
from waypost.host import data_directory, run_file
from waypost.host.clock import VirtualClock, now
from waypost.mime.reader import Reader
from waypost.net.certificates import Certificates
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.log_options import LogOptions
from waypost.observe.metrics.arrays import Arrays, Metrics
from waypost.observe.spans.spans import Spans
from waypost.observe.tasks import OnError, Tasks
from waypost.server import console_link, listening, opening, reloading, routes_check, sockets, start_warnings
from waypost.server.assembly import delivery, http, metrics, smtp
from waypost.server.assembly import spans as tracing
from waypost.server.assembly.certificates import report_validity
from waypost.server.assembly.common import (
    Common,
    UseSettings,
    connections,
    deployment,
    disk_guard,
    routes_of_settings,
)
from waypost.server.assembly.metrics import MetricsText
from waypost.server.assembly.smtp import SmtpEdge
from waypost.server.database_clock import DatabaseClock
from waypost.server.http.server import HttpServer
from waypost.server.listening import StartListening
from waypost.server.maintenance import NOTES_EVERY, NOTES_EVERY_FOR_TESTS, PLAN_AGE, Maintenance
from waypost.server.opening import CannotStart, open_store
from waypost.server.owner import find_or_make, first_instance
from waypost.server.risks import report_risks
from waypost.server.supervisor.worker_process import WorkerProcess
from waypost.smtp.backend.ids import Ids

SECRETS_EVERY = 60.0
"""Seconds between two looks for new secrets that sign rewritten senders and loop tokens."""


class Service:
    """One server: the parts that its roles need, and its maintenance. All parts use the same store.

    A service does not change process-wide settings, so several services can run on one event loop. The process-wide
    settings are in `runtime`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        emit: events.Emit = lambda _: None,
        metrics: Metrics | None = None,
        files: float = float("inf"),
        warn: Callable[[str], None] = lambda _: None,
        process: WorkerProcess | None = None,
        has_reader: bool = False,
        reread: reloading.Reread | None = None,
        reopen_log: Callable[[LogOptions], None] = lambda _: None,
    ) -> None:
        """`emit` also counts events in `metrics`. If there are no `metrics`, the service has its own.

        `files` is the number of files that the service may have open. Each client connection uses one open file.

        The service calls `warn` with each warning for the person who starts the server. `process` is the worker process
        that the service runs in; None if the service is the whole server. `has_reader` is true if a person reads the
        output of the command.

        `reread` reads the settings again for a reload; None if they cannot change. `reopen_log` opens the log file
        again.
        """
        self.settings = settings
        self.roles = settings.roles
        self.directory = process.directory if process else data_directory.DataDirectory(settings.data)
        self._process = process
        self._processes = process.count if process else 1
        """The number of processes that the server consists of."""
        self.metrics = metrics or Arrays().of(0)
        self.emit = emit if metrics else self.metrics.counting(emit)
        self.incidents = Incidents(self.emit, of_store=STORE_FAILURES)
        self.tasks = Tasks(self.incidents)
        self.instance_id = ""
        """The id of the oldest instance in the owner's account; empty until the service has started."""
        self.console_link = ""
        """The URL with which the operator signs in to the console once; empty if the settings ask for none."""
        wanted = settings.console_link
        self._has_console_link = wanted is ConsoleLink.ALWAYS or (wanted is ConsoleLink.TERMINAL and has_reader)
        self._files = files
        self._warn = warn
        self._virtual_clock = VirtualClock() if settings.clock is Clock.VIRTUAL else None
        self._set_routes = routes_of_settings(settings)
        self._checked_for = routes_check.OurServer.of(settings)
        self._certificates: list[Certificates] = []
        """The TLS certificates in use: for mail and for HTTPS, if any."""
        self._common: Common | None = None
        self._secrets: tuple[Generation, ...] = ()
        """The generations of the secrets that sign rewritten senders and loop tokens; none before their rotation."""
        self._http_certificates: Certificates | None = None
        self._reread = reread
        self._reopen_log = reopen_log
        self._users_of_settings: list[UseSettings] = []
        self._run: run_file.Run | None = None
        self._opened = AsyncExitStack()
        """Everything that the service must close when it stops. The resource that was opened last is closed first."""

    @property
    def _is_first(self) -> bool:
        """Whether this process does what one process of a server does."""
        return self._process is None or self._process.is_first

    @property
    def _does_upkeep(self) -> bool:
        """Whether this process does the upkeep of its server."""
        return self._process is None or self._process.does_upkeep

    @property
    def where(self) -> str:
        """The location of the data, for messages: the URL of the database or the path of the SQLite file."""
        return self.directory.data_at

    async def start(self) -> run_file.Run:
        """Open the store, and start the parts for all roles of the service. Return the addresses on which the service
        listens.

        Raises `CannotStart` or `DataDirectoryError`, after closing everything that the method has already opened.
        """
        try:
            async with AsyncExitStack() as opened:
                run = await self._start(opened)
                self._opened = opened.pop_all()
        except (ports.StoreUnavailable, errors.WaypostError, opening.Refused) as error:
            raise CannotStart(str(error)) from error
        return run

    async def stop(self) -> None:
        """Finish the work in progress, then close everything in the reverse order of opening."""
        await self._opened.aclose()
        self.emit(events.Stopped())

    async def reload(self) -> bool:
        """Read the settings and the certificate files again, and open the log file again. Return whether the settings
        could be used. If not, the service keeps its settings.
        """
        self._reopen_log(self.settings.log)
        for each in self._certificates:
            each.reload()
            report_validity(each, self.emit, lambda _: None)
        is_usable = True
        if self._reread and self._run:
            server = replace(self._checked_for, listeners=self._run.listeners)
            found = await reloading.new_settings(self.settings, self._reread, server, self.emit)
            is_usable = found is not None
            if found:
                self._use(found)
        if self._common:
            await self._read_secrets(self._common)
        self.emit(events.Reopened())
        return is_usable

    def _use(self, settings: Settings) -> None:
        """Use new settings, which differ from the settings only where a setting can be reloaded."""
        if settings.log != self.settings.log:
            self._reopen_log(settings.log)
        self.settings = settings
        self._set_routes = routes_of_settings(settings)
        for use in self._users_of_settings:
            use(settings)
        if self._run:
            self._run = reloading.run_with(self._run, settings)
            if self._process is None:
                reloading.announce(self.directory, self._run, self.emit)

    async def _start(self, opened: AsyncExitStack) -> run_file.Run:
        """Start the service, step by step. When `opened` is closed, it closes everything that the steps opened, in
        reverse order.

        The service does not listen and claims no deliveries until it has checked that no route leads back to it, and
        has made all of its parts.
        """
        if self._process is None:
            self._take_directory(opened)
        await self._refuse_circular_routes()
        spans = self._begin_spans(opened)
        database = self.directory.where(self.settings.database)
        store = self._open_store(database, opened)
        owner = await self._find_owner(store)
        self._secrets = await store.read(mail_secrets.generations)
        common = self._make_common(store, owner, spans, has_connections=bool(database))
        self._common = common
        follow = partial(self._follow_secrets, common)
        opened.callback(self.tasks.start(follow, where="mail secrets", on_error=OnError.RESTART).cancel)
        reader = Reader()
        opened.push_async_callback(reader.close)
        clock = await self._watch_clock(store, opened, has_connections=bool(database))
        maintenance = self._make_maintenance(common, reader, clock)
        worker = self._make_worker(common)
        text = MetricsText(common, clock)
        calls = text.calls = await self._make_http_server(common, worker, maintenance, reader, text)
        mail = self._make_smtp_edge(common, worker)
        text.mail = mail.server if mail else None
        await self._begin_deliveries(worker, opened)
        calls_at = await self._listen_for_calls(calls, opened)
        secure_at = await self._listen_for_secure_calls(calls)
        metrics_at = await self._listen_for_metrics(common, text, opened)
        mail_at = await self._listen_for_mail(mail, opened)
        self._begin_maintenance(maintenance, opened)
        found = listening.run_of(
            self.settings,
            self.directory,
            http=calls_at,
            https=secure_at,
            metrics=metrics_at,
            mail=mail_at,
            listeners=mail.server.addresses if mail else (),
            certificates=self._http_certificates,
        )
        self._run = run = reloading.run_with(found, self.settings)
        await self._begin_probes(common, run, opened)
        await self._make_console_link(store, run)
        await self._begin_to_check_routes(store, run, opened)
        if self._process is None:
            self.directory.announce(run)
        return run

    # The steps of a start

    def _take_directory(self, opened: AsyncExitStack) -> None:
        """Lock the data directory, and report the risks to it."""
        exposures = self.directory.prepare()
        opened.callback(self.directory.release)
        report_risks(self.settings, exposures, emit=self.emit, warn=self._warn)

    async def _refuse_circular_routes(self) -> None:
        """Raise `routes_check.LeadsBack` if a route in the settings leads to a listener of this service."""
        await routes_check.refuse_loops(self._set_routes, self._checked_for)

    def _begin_spans(self, opened: AsyncExitStack) -> Spans | None:
        """Start to send spans, if the settings name a collector. A worker process does this after it was forked."""
        number = self._process.number if self._process else 0
        sender = tracing.sender(self.settings, process=number, emit=self.emit, measures=self.metrics.measures)
        if sender:
            sender.start()
            opened.push_async_callback(sender.stop)
        return tracing.spans(self.settings, sender, clock=self._virtual_clock or now)

    def _open_store(self, database: str, opened: AsyncExitStack) -> ports.Store:
        """Open the PostgreSQL database at the URL `database`, or the data directory's SQLite file if the URL is empty.

        When the service stops, it ends all tasks before it closes the database.
        """
        settings = self.settings
        missing = [role for role in Role if role not in self.roles]
        if missing and not database and self._is_first:
            self._warn(start_warnings.of_missing_roles(missing))
        store = open_store(
            self.directory,
            database,
            connections=max(FEWEST, settings.database_connections // self._processes),
            prepares=settings.database_prepared_statements,
            migrates=settings.database_migrations,
            on_commit=self.metrics.measures.commit,
        )
        opened.push_async_callback(store.close)
        opened.push_async_callback(self.tasks.stop)
        if database:
            self.directory.remember_database(database)
        return store

    async def _find_owner(self, store: ports.Store) -> Tenant:
        """Return the account and region of the owner's access key. When the server first starts, it creates the access
        key and an instance.
        """
        if self.settings.testing:
            await store.write(resetting.refuse_other_data)
        owner = await find_or_make(store, self.directory, self.settings)
        self.instance_id = await store.write(partial(first_instance, tenant=owner, now=now()))
        return owner

    def _make_common(self, store: ports.Store, owner: Tenant, spans: Spans | None, *, has_connections: bool) -> Common:
        """`has_connections` is true if the store is a PostgreSQL database, which other servers may use too."""
        process = self._process
        limit_state = process.limit_state if process else OwnState()
        of_deployment = self._deployment(owner)
        guard = disk_guard(self.settings, self.directory, store, emit=self.emit, warn=self._warn)

        def use(settings: Settings) -> None:
            of_deployment.become(self._deployment(owner))
            guard.reserve = settings.disk_reserve

        self._users_of_settings.append(use)
        return Common(
            settings=self.settings,
            directory=self.directory,
            store=store,
            is_alone=not has_connections and self._is_first,
            owner=owner,
            deployment=of_deployment,
            connections=connections(
                self.settings, files=self._files, has_connections=has_connections, emit=self.emit, warn=self._warn
            ),
            disk_guard=guard,
            virtual_clock=self._virtual_clock,
            faults=FaultRules(self.settings.faults, allowed=self.settings.testing, draw=random.random),
            ids=Ids(),
            limit_state=limit_state,
            notes=NotesWanted(limit_state, now),
            processes=self._processes,
            when_reloaded=self._users_of_settings.append,
            emit=spans.following(self.emit) if spans else self.emit,
            metrics=self.metrics,
            spans=spans,
            tasks=self.tasks,
        )

    def _deployment(self, owner: Tenant) -> Deployment:
        clock = self._virtual_clock or now
        secrets = in_force(self._secrets, clock()) if self._secrets else None
        return deployment(self.settings, self.directory, owner=owner.account, secrets=secrets)

    async def _follow_secrets(self, common: Common) -> None:
        """Read the secrets for mail again and again, until cancelled, so that this process signs with new ones in time,
        and accepts what other servers have signed.
        """
        while True:
            await asyncio.sleep(SECRETS_EVERY)
            await self._read_secrets(common)

    async def _read_secrets(self, common: Common) -> None:
        try:
            self._secrets = await common.store.read(mail_secrets.generations)
        except STORE_FAILURES:  # each edge logs the failure for its own clients
            return
        common.deployment.become(self._deployment(common.owner))

    def _make_maintenance(self, common: Common, reader: ports.MailText, clock: DatabaseClock) -> Maintenance:
        moment = common.mail_clock()
        maintenance = Maintenance(
            store=common.store,
            deployment=common.deployment,
            incidents=self.incidents,
            real_clock=now,
            mail_clock=common.mail_clock,
            mail_text=reader,
            notes=common.notes,
            token_retention=self.settings.token_retention,
            refusal_retention=self.settings.trace_refusals,
            rules=self.settings.retention,
            may_clock_be_wrong=clock.may_be_wrong,
            dead_letter_retention=self.settings.dead_letter_retention,
            emit=self.emit,
            notes_every=NOTES_EVERY_FOR_TESTS if self.settings.testing else NOTES_EVERY,
            # If no other process uses the database, no other process can still be receiving messages that were begun
            # before this start.
            begun_before=moment if common.is_alone else moment - accept.LONGEST_TRANSFER,
            first_plan_age=timedelta() if common.is_alone else PLAN_AGE,
        )

        def use(settings: Settings) -> None:
            maintenance.token_retention = settings.token_retention
            maintenance.dead_letter_retention = settings.dead_letter_retention
            maintenance.rules = settings.retention

        common.when_reloaded(use)
        return maintenance

    def _make_worker(self, common: Common) -> Worker | None:
        """Return the part that sends queued mail and writes notices. If the queue is held, there is none."""
        is_wanted = Role.DELIVERY in self.roles and not self.settings.hold_queue
        return delivery.worker(common) if is_wanted else None

    async def _make_http_server(
        self, common: Common, worker: Worker | None, maintenance: Maintenance, reader: Reader, text: MetricsText
    ) -> HttpServer | None:
        if Role.API not in self.roles:
            return None
        server = await http.server(
            common, worker=worker, maintenance=maintenance, reader=reader, metrics=text, warn=self._warn
        )
        self._http_certificates = server.certificates
        self._certificates += [server.certificates] if server.certificates else []
        return server

    def _make_smtp_edge(self, common: Common, worker: Worker | None) -> SmtpEdge | None:
        if Role.SMTP not in self.roles:
            return None
        edge = smtp.edge(common, worker=worker, warn=self._warn)
        self._certificates += [edge.server.certificates] if edge.server.certificates else []
        return edge

    async def _watch_clock(self, store: ports.Store, opened: AsyncExitStack, *, has_connections: bool) -> DatabaseClock:
        """Begin to compare the clock with the database's. One worker process warns."""
        clock = DatabaseClock(store, self.emit if self._is_first else lambda _: None)
        await clock.start(self.tasks, opened, has_connections=has_connections)
        return clock

    async def _begin_deliveries(self, worker: Worker | None, opened: AsyncExitStack) -> None:
        if worker:
            await worker.start()
            opened.push_async_callback(worker.stop)

    async def _listen_for_calls(self, server: HttpServer | None, opened: AsyncExitStack) -> str:
        """Listen for API calls over HTTP. Return the address, or an empty string if there is none."""
        if server is None:
            return ""
        opened.push_async_callback(server.stop)
        if self.settings.http is None:
            return ""
        return await self._listen(sockets.HTTP, [self.settings.http], server.start)

    async def _listen_for_secure_calls(self, server: HttpServer | None) -> str:
        """Listen for API calls over HTTPS. Return the first address, or an empty string if there is none."""
        return await self._listen(sockets.HTTPS, self.settings.https, server.start_tls) if server else ""

    async def _listen_for_metrics(self, common: Common, text: MetricsText, opened: AsyncExitStack) -> str:
        """Listen on the addresses for the metrics, and let the other processes of the server see this process's
        gauges. Return the first address, or an empty string if there is none.
        """
        if self._process:
            opened.callback(self.tasks.start(text.publish, where="metrics", on_error=OnError.RESTART).cancel)
        if not self.settings.metrics:
            return ""
        server = metrics.server(common, text)
        opened.push_async_callback(server.stop)
        address = await self._listen(sockets.METRICS, self.settings.metrics, server.start)
        self.tasks.start(text.prepare, where="metrics", on_error=OnError.LEAVE)
        return address

    async def _make_console_link(self, store: ports.Store, run: run_file.Run) -> None:
        """Make the link that the command prints. One worker process makes it."""
        if self._is_first and run.has_api and self._has_console_link:
            self.console_link = await console_link.at_start(store, self.directory, run)

    async def _listen_for_mail(self, edge: SmtpEdge | None, opened: AsyncExitStack) -> dict[str, str]:
        """Listen for mail. Return the first address of each kind of listener.

        An address is empty if the settings contain no listener of this kind, or if the service has no SMTP role.
        """
        addresses = dict.fromkeys(("smtp", "smtps", "lmtp"), "")
        if edge is None:
            return addresses
        await edge.begin(opened)
        for listener in smtp.listeners(self.settings):
            start, endpoints = partial(edge.server.start, listener), self.settings.mail_endpoints[listener.name]
            addresses[listener.name] = await self._listen(listener.name, endpoints, start)
        return addresses

    def _begin_maintenance(self, maintenance: Maintenance, opened: AsyncExitStack) -> None:
        if not self._does_upkeep:
            return
        jobs = maintenance.jobs(for_all=Role.UPKEEP in self.roles, for_clients=Role.API in self.roles)
        for run in jobs:
            opened.callback(self.tasks.start(run, where="upkeep", on_error=OnError.RESTART).cancel)

    async def _begin_probes(self, common: Common, run: run_file.Run, opened: AsyncExitStack) -> None:
        """Send probes to the alias in the settings, if they name one. One worker process sends them."""
        if not self.settings.probe_alias or not self._does_upkeep:
            return
        from waypost.server.assembly.probe import probe_of  # noqa: PLC0415 - few servers send probes
        from waypost.server.probe import NOT_AN_ALIAS  # noqa: PLC0415 - as above

        probe = probe_of(common, smtp=run.smtp)
        if await probe.is_target_missing():
            self._warn(NOT_AN_ALIAS)
        opened.callback(self.tasks.start(probe.run, where="probe", on_error=OnError.RESTART).cancel)

    async def _begin_to_check_routes(self, store: ports.Store, run: run_file.Run, opened: AsyncExitStack) -> None:
        """Start a task that logs the routes whose targets cannot be reached now."""
        if not self._is_first:
            return
        checked = [*self._set_routes, *await store.read(list_routes)]
        server = replace(self._checked_for, listeners=run.listeners)
        check = partial(routes_check.log_unreachable, checked, server, self.emit)
        opened.callback(self.tasks.start(check, where="routes", on_error=OnError.LEAVE).cancel)

    async def _listen(self, edge: str, endpoints: Sequence[Endpoint], start: StartListening) -> str:
        return await listening.listen(edge, endpoints, start, process=self._process, emit=self.emit)
