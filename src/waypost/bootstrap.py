"""The only file that knows everything: from settings to a service that can be started and stopped."""

import asyncio
import gc
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from waypost import datadir, events, logs
from waypost.api.asgi import Api
from waypost.app import accept, instances, ports
from waypost.console import inspection
from waypost.domain.instances import Instance, Tenant
from waypost.http_server import HttpServer
from waypost.settings import Settings, host_and_port
from waypost.smtp.server import SmtpServer
from waypost.store.migrations import SchemaTooNew
from waypost.store.sqlite import SqliteStore
from waypost.store.sqlite_file import SqliteTooOld

Start = Callable[[str, int], Awaitable[tuple[str, int]]]
"""Starts an edge on a host and port; returns the real ones. Raises `OSError`."""


class CannotStart(Exception):
    """The service cannot be started. The message says why, and what to do."""


class Service:
    """Everything that `waypost serve` runs, on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = datadir.DataDirectory(settings.directory)
        self._log = logs.Log()
        self._emit = self._log.emit

    async def run(self, when_ready: Callable[[datadir.Run], None]) -> None:
        """Start, tell where everything is, and stop when asked to (SIGTERM, or SIGINT from Ctrl-C)."""
        asked: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _ask_once, asked, number)
        run = await self.start()
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
        """Open the store and both edges; returns where they are. Raises `CannotStart`, `DataDirectoryError`."""
        settings = self.settings
        self.directory.prepare()
        profiles = self.directory.access_profiles(account=settings.account, region=settings.region)
        keys = {profile.key.id: profile.key for profile in profiles}
        tenant = Tenant(profiles[0].key.account, profiles[0].region)
        deployment = accept.Deployment(settings.real_hostname, self.directory.derived_key("loop tokens"))
        try:
            self._store = SqliteStore(self.directory.database)
        except (ports.StoreUnavailable, SchemaTooNew, SqliteTooOld) as error:
            raise CannotStart(str(error)) from error
        self.instance_id = await self._store.write(partial(_instance_to_start_with, tenant=tenant, now=now()))
        api = Api(self._store, access_keys=keys.get, clock=now, emit=self._emit)
        console = inspection.application(self._store, access_keys=keys.get, emit=self._emit)
        self._http = HttpServer(_by_path(console, api))
        self._smtp = SmtpServer(self._store, deployment, clock=now, emit=self._emit)
        http_address = await self._listen("http", settings.http, self._http.start)
        smtp_address = await self._listen("smtp", settings.smtp, self._smtp.start)
        run = datadir.Run(http=http_address, smtp=smtp_address)
        self.directory.announce(run)
        return run

    async def stop(self) -> None:
        """Finish what was promised, then close everything."""
        await self._smtp.stop()
        await self._http.stop()
        await self._store.close()
        self.directory.release()
        self._emit(events.Stopped())
        self._log.close()

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


def now() -> datetime:
    """The clock of the real world, to the millisecond, as it is stored."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _instance_to_start_with(tx: ports.WriteTx, *, tenant: Tenant, now: datetime) -> str:
    """The id of the tenant's oldest instance; made if there is none yet."""
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
