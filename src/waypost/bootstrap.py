"""The only file that knows everything: from settings to a service that can be started and stopped."""

import asyncio
import gc
import os
import resource
import signal
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from waypost import datadir, events, keyring, logs
from waypost.api.asgi import Api
from waypost.api.calls import Terms
from waypost.api.page_tokens import PageTokens
from waypost.app import accept, access_keys, idempotency, instances, ports
from waypost.app.buckets import FailedSignatures
from waypost.authentication.checker import Checker
from waypost.console import inspection
from waypost.domain import errors
from waypost.domain.instances import Instance, Tenant
from waypost.http_server import HttpServer
from waypost.settings import FEWEST, SELF_SIGNED, Settings, host_and_port
from waypost.smtp import tls
from waypost.smtp.admission import Admission
from waypost.smtp.bounds import Bounds
from waypost.smtp.connection import Listener
from waypost.smtp.memory import Memory
from waypost.smtp.offer import Offer
from waypost.smtp.reception import House
from waypost.smtp.server import SmtpServer
from waypost.store.migrations import SchemaTooNew, SchemaTooOld
from waypost.store.sqlite import SqliteStore
from waypost.store.sqlite_file import SqliteTooOld

T = TypeVar("T")

Start = Callable[[str, int], Awaitable[tuple[str, int]]]
"""Starts an edge on a host and port; returns the real ones. Raises `OSError`."""

OTHER_FILES = 1_000
"""Files that are kept for what is no mail client: calls to the API, the database, the log."""

FORGET_EVERY = 600.0
"""Seconds between two looks for what may be forgotten."""


class CannotStart(Exception):
    """The service cannot be started. The message says why, and what to do."""


class Refused(Exception):
    """What was asked cannot be done. The message says why."""


class Service:
    """Everything that `waypost serve` runs, on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = datadir.DataDirectory(settings.directory)
        self._log = logs.Log()
        self._emit = self._log.emit

    async def run(self, when_ready: Callable[[datadir.Run], None]) -> None:
        """Start, tell where everything is, and stop when asked to (SIGTERM, or SIGINT from Ctrl-C)."""
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[signal.Signals] = loop.create_future()
        run = await self.start()
        # Before, there is nothing to finish: a signal ends us at once, also while another server migrates.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _ask_once, asked, number)
        # What was made so far stays for ever; the garbage collector need not look at it again and again. And what
        # a call or a message makes is no garbage for it, nearly always, so it need not look as often as it would.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000)
        try:
            when_ready(run)
            self._emit(events.Stopping(signal=(await asked).name))
        finally:
            await self.stop()

    async def start(self) -> datadir.Run:
        """Open the store and both edges; returns where they are.

        Raises `CannotStart`, `DataDirectoryError`; what was opened by then is closed again.
        """
        async with AsyncExitStack() as opened:
            opened.callback(self._log.close)
            opened.callback(self._emit, events.Stopped())
            try:
                run = await self._start(opened)
            except (ports.StoreUnavailable, errors.WaypostError) as error:
                raise CannotStart(str(error)) from error
            self._opened = opened.pop_all()
        return run

    async def _start(self, opened: AsyncExitStack) -> datadir.Run:
        settings = self.settings
        self.directory.prepare()
        opened.callback(self.directory.release)
        database = self.directory.where(settings.database)
        self._store = open_store(self.directory, database, connections=settings.connections)
        opened.push_async_callback(self._store.close)
        self._is_shared, self._started_at = bool(database), now()
        if database:
            self.directory.remember_database(database)
        tenant = await self._tenant_to_start_with()
        self.instance_id = await self._store.write(partial(_instance_to_start_with, tenant=tenant, now=now()))
        failures = FailedSignatures()
        rate = settings.limits_profile.rate
        api = Api(self._store, terms=self._terms(), rate=rate, failures=failures, clock=now, emit=self._emit)
        console = inspection.application(self._store, failures=failures, clock=now, emit=self._emit)
        http = HttpServer(_by_path(console, api))
        smtp = await self._mail(opened)
        http_address = await self._listen("http", settings.http, http.start)
        opened.push_async_callback(http.stop)
        opened.push_async_callback(smtp.stop)
        addresses = dict.fromkeys(("smtp", "smtps", "lmtp"), "")
        for listener in _mail_listeners(settings):
            for address in settings.addresses(listener.name):
                found = await self._listen(listener.name, address, partial(smtp.start, listener))
                addresses[listener.name] = addresses[listener.name] or found
        opened.callback(asyncio.create_task(self._forget()).cancel)
        run = datadir.Run(http_address, addresses["smtp"], smtps=addresses["smtps"], lmtp=addresses["lmtp"])
        if settings.tls_certificate == SELF_SIGNED:
            run = replace(run, certificate=str(self.directory.certificate))
        self.directory.announce(run)
        return run

    async def _mail(self, opened: AsyncExitStack) -> SmtpServer:
        """The receiving edge, which does not listen yet."""
        settings = self.settings
        bounds = Bounds(
            connections=self._connections(),
            connections_each=int(settings.smtp_connections_each),
            new_connections_a_minute=float(settings.smtp_new_connections_each),
            messages_a_minute=float(settings.smtp_messages_each),
            memory=int(settings.smtp_memory) * 1024 * 1024,
            greeting_delay=settings.seconds_before_greeting,
        )
        checker = None
        if settings.checks_senders:
            checker = Checker(settings.resolvers, lambda works: self._emit(events.DnsChanged(works=works)))
            await checker.start()
            opened.push_async_callback(checker.stop)
        house = House(
            store=self._store,
            deployment=accept.Deployment(settings.real_hostname, self.directory.derived_key("loop tokens")),
            clock=now,
            emit=self._emit,
            admission=Admission(bounds),
            memory=Memory(bounds.memory),
            authenticator=checker,
            enforces=settings.authentication == "enforce",
        )
        return SmtpServer(
            house,
            bounds=bounds,
            certificates=self._certificates() if settings.tls_certificate else None,
            proxy_networks=settings.proxies,
        )

    def _connections(self) -> int:
        """How many connections of mail clients there can be. Others need files too."""
        wanted = int(self.settings.smtp_connections)
        files = _files()
        if wanted + OTHER_FILES <= files:
            return wanted
        possible = max(10, int(files) - OTHER_FILES)
        self._emit(events.ConnectionsLimited(connections=possible))
        return possible

    def _certificates(self) -> tls.Certificates:
        """The certificate for TLS: the one that was set, or one of our own making."""
        settings = self.settings
        if settings.tls_certificate == SELF_SIGNED:
            from waypost import certificates  # noqa: PLC0415 - it takes memory, and few make one

            hostname = settings.real_hostname
            certificate, key = self.directory.certificate, self.directory.certificate_key
            if not certificates.is_good(certificate, key, hostname, now()):
                self.directory.write_certificate(*certificates.self_signed(hostname, now()))
        else:
            certificate, key = Path(settings.tls_certificate), Path(settings.tls_key or settings.tls_certificate)
        clients = Path(settings.tls_clients) if settings.tls_clients else None
        try:
            return tls.Certificates(
                tls.TlsFiles(certificate, key, clients),
                failed=lambda error: self._emit(events.CertificateRefused(reason=str(error))),
            )
        except tls.BadCertificate as error:
            raise CannotStart(str(error)) from error

    async def stop(self) -> None:
        """Finish what was promised, then close everything, the last opened first."""
        await self._opened.aclose()

    async def _tenant_to_start_with(self) -> Tenant:
        """The account and region of the owner's access key. The first start makes that key."""
        settings = self.settings
        await self._store.write(_adopting(self.directory))
        if not self.directory.credentials.exists():
            new, _ = keyring.new_access_key(account=settings.account, user_name="root", now=now())
            key = await self._store.write(partial(access_keys.owners_key, new=new))
            self.directory.write_credentials(key, region=settings.region)
        profile = self.directory.profiles()[0]
        return Tenant(profile.key.account, profile.region)

    @property
    def where(self) -> str:
        """Where the data is, for people."""
        return self.directory.data_at

    def _terms(self) -> Terms:
        return Terms(
            new_id=lambda: str(uuid.uuid4()),
            page_tokens=PageTokens(self.directory.derived_key("page tokens")),
            token_retention=self.settings.client_token_retention,
            email_address_quota=self.settings.limits_profile.email_addresses,
        )

    async def _forget(self) -> None:
        """Every now and then, forget client tokens that count no more, and sessions that have ended."""
        retention = self.settings.client_token_retention
        # On a file of its own, nothing else can be taking in what was begun before this server.
        begun_before = now() - accept.LONGEST_TRANSFER if self._is_shared else self._started_at
        while True:
            try:
                await self._store.write(partial(access_keys.purge, now=now()))
                while await self._store.write(partial(idempotency.purge, retention=retention, now=now())):
                    pass
                while found := await self._store.search(partial(accept.left_over, begun_before=begun_before)):
                    for message_id in found:
                        while await self._store.write(partial(accept.forget_octets, message_id=message_id)):
                            pass
                begun_before = now() - accept.LONGEST_TRANSFER
            except ports.StoreUnavailable as error:
                self._emit(events.StoreFailed(where="purge", id=str(uuid.uuid4()), cause=error))
            except Exception as error:  # noqa: BLE001 - a mistake of ours is told, and must not end this for good
                self._emit(events.Failed(where="purge", id=str(uuid.uuid4()), cause=error))
            await asyncio.sleep(FORGET_EVERY)

    async def _listen(self, edge: str, address: str, start: Start) -> str:
        host, port = host_and_port(edge, address)
        try:
            host, port = await start(host, port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotStart(f"Cannot listen on {address}: {reason}. Choose another with --{edge}.") from error
        found = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._emit(events.Listening(edge=edge, address=found))
        return found


def _mail_listeners(settings: Settings) -> list[Listener]:
    """What may be spoken."""
    offer = Offer(
        hostname=settings.real_hostname,
        offers_tls=bool(settings.tls_certificate),
        needs_tls=settings.tls_required == "yes",
        unknown_recipient_limit=int(settings.smtp_unknown_recipients),
    )
    return [
        Listener(name="smtp", offer=offer),
        Listener(name="smtps", offer=offer, is_tls=True),
        Listener(name="lmtp", offer=replace(offer, lmtp=True, needs_tls=False), are_strangers=False),
    ]


def _files() -> float:
    """How many files the system lets this process have, each connection being one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the system says no, the soft limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else float("inf")


def open_store(
    directory: datadir.DataDirectory,
    database: str = "",
    *,
    connections: int = Settings().connections,
    only_new: bool = False,
) -> ports.Store:
    """The store of a data directory, on the running event loop: the PostgreSQL `database`, or a file of its own.

    With `only_new` one of an older Waypost is left as it is: raises `SchemaTooOld` then. Raises `CannotStart`,
    `DataDirectoryError`.
    """
    seal = keyring.Keyring(directory.derived_key("sealed secrets"))
    try:
        if database:
            return _postgres(database, seal, connections, only_new=only_new)
        return SqliteStore(directory.database, seal, only_new=only_new)
    except (ports.StoreUnavailable, SchemaTooNew, SqliteTooOld, keyring.SealBroken) as error:
        raise CannotStart(str(error)) from error


def _postgres(database: str, seal: keyring.Keyring, connections: int, *, only_new: bool) -> ports.Store:
    """The store on PostgreSQL, whose driver is loaded, and has to be installed, by those alone who use it."""
    try:
        from waypost.store.postgres import PostgresStore  # noqa: PLC0415 - as said above
        from waypost.store.postgres_connection import BadDatabase  # noqa: PLC0415
    except ImportError as error:
        raise CannotStart(
            "PostgreSQL needs a driver that is not installed here. Install it with: pip install 'psycopg[binary]'"
        ) from error
    try:
        return PostgresStore(database, seal, connections=connections, only_new=only_new)
    except BadDatabase as error:
        raise CannotStart(str(error)) from error


def _adopting(directory: datadir.DataDirectory) -> Callable[[ports.WriteTx], None]:
    """The first use of a new store: it takes in the keys of a Waypost that kept them in its credentials file alone."""
    keys = [profile.key for profile in directory.profiles()] if directory.credentials.exists() else []
    return partial(access_keys.adopt, keys=keys, now=now())


async def administer(
    directory: datadir.DataDirectory,
    use_case: Callable[[ports.WriteTx], T],
    *,
    database: str = "",
    make: bool = False,
) -> T:
    """Run a use case on the store of a data directory, whether a server is running on it or not.

    With `make` the directory is made if it is not there. Raises `CannotStart`, `Refused`, `DataDirectoryError`.
    """
    database = directory.where(database)
    if make and not database:
        directory.make()
    elif not directory.has_database and not (database and datadir.is_master_key_in_environment()):
        further = f", or set {datadir.MASTER_KEY_VARIABLE}" if database else ""
        raise Refused(f"There is no Waypost in {directory.path}. Name its data directory with --data{further}.")
    try:
        store = open_store(directory, database, connections=FEWEST, only_new=True)
    except SchemaTooOld as error:
        if database:
            raise Refused(f"{error} Start a server of this version on it first.") from error
        with directory.held():  # so that no server of that version runs on it meanwhile
            store = open_store(directory)
    try:
        await store.write(_adopting(directory))
        return await store.write(use_case)
    except (errors.WaypostError, keyring.SealBroken, ports.StoreUnavailable) as error:
        raise Refused(str(error)) from error
    finally:
        await store.close()


def now() -> datetime:
    """The clock of the real world, to the millisecond, as it is stored."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


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
    prefix = f"{inspection.PREFIX}/".encode()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = console if scope["raw_path"].startswith(prefix) else api
        await chosen(scope, receive, send)

    return application


def _ask_once(asked: "asyncio.Future[signal.Signals]", number: signal.Signals) -> None:
    if not asked.done():
        asked.set_result(number)
