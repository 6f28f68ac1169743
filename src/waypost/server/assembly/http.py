"""The part of a service that answers HTTP requests: the Amazon Connect API, the inspection API and the console, on one
HTTP server.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from waypost.api.access.throttle import Throttle
from waypost.api.application import Api
from waypost.api.operations.calls import Terms
from waypost.api.operations.page_tokens import PageTokens
from waypost.app import ports, resetting
from waypost.app.directory.email_addresses import Domains
from waypost.app.limit_state import OwnState
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.rate_limits import FailedSignatures
from waypost.config.file import fault_rule
from waypost.config.settings import Settings
from waypost.config.types import BadSetting
from waypost.delivery.queue.worker import Worker
from waypost.domain import errors
from waypost.domain.mail.fault_rules import FaultRule
from waypost.host.clock import now
from waypost.inspection import asgi as inspection
from waypost.inspection import following
from waypost.inspection.resetting import Reset
from waypost.mime.reader import Reader
from waypost.observe.incidents import Incidents
from waypost.server.assembly import certificates
from waypost.server.assembly.common import Common, waking
from waypost.server.assembly.console import LANDINGS, Console
from waypost.server.assembly.console import PREFIX as CONSOLE
from waypost.server.assembly.metrics import MetricsText
from waypost.server.doctor.own import OwnChecks
from waypost.server.http.limits import HttpBounds
from waypost.server.http.server import HttpServer
from waypost.server.maintenance import Maintenance
from waypost.server.owner import first_instance

INSPECTION = f"{inspection.PREFIX}/"

Advance = Callable[[timedelta], Awaitable[datetime]]
"""Advances the mail clock by a duration. Returns the new time."""


async def server(
    common: Common,
    *,
    worker: Worker | None,
    maintenance: Maintenance,
    reader: Reader,
    metrics: MetricsText,
    warn: Callable[[str], None],
) -> HttpServer:
    """Return the HTTP server of a service. The server does not listen yet.

    `worker` is None if only other services deliver mail, or if the queue is held. `reader` reads the content of
    messages. `metrics` is the text of the metrics. The function calls `warn` with warnings for
    the person who starts the server. Raises `CannotStart`.
    """
    settings = common.settings
    failures = FailedSignatures(common.limit_state)
    throttle = Throttle(settings.limits, common.limit_state)
    api = Api(
        common.store,
        terms=_terms(common, settings),
        throttle=throttle,
        older_regions=await common.store.long_read(lambda tx: tx.regions(), what="the regions of the instances"),
        failures=failures,
        clock=now,
        emit=common.emit,
        measures=common.metrics.measures,
        spans=common.spans,
    )
    incidents = Incidents(common.emit, of_store=STORE_FAILURES)
    notes = common.notes
    one_at_a_time = asyncio.Lock()
    own_checks = OwnChecks(common)
    inspected = inspection.application(
        common.store,
        notes=notes,
        metrics=metrics.rendered,
        check_server=own_checks.run,
        reader=reader,
        feeds=following.feeds(
            common.store,
            notes,
            report=partial(incidents.report, where="changes to mail"),
            poll_every=maintenance.notes_every if settings.testing else None,
        ),
        is_full=common.disk_guard.is_full,
        deployment=common.deployment,
        failures=failures,
        clock=now,
        mail_clock=common.mail_clock,
        emit=common.emit,
        wake=waking(worker),
        is_queue_held=settings.hold_queue,
        advance=_advance(common, worker, maintenance, one_at_a_time),
        reset=_reset(common, worker, one_at_a_time),
        refusal_retention=settings.trace_refusals,
        own_names=settings.own_http_names,
        faults=common.faults,
        read_fault=_read_fault,
    )
    console = Console(common, reader, api=api, failures=failures, wake=waking(worker), check_server=own_checks.run)
    found = HttpServer(
        _Pages(inspected, console),
        prefixes=(INSPECTION, CONSOLE),
        landings=LANDINGS,
        calls=api,
        bounds=_bounds(common, settings),
        emit=common.emit,
        tasks=common.tasks,
        limit_state=common.limit_state,
        certificates=certificates.of_http(common, warn),
        measures=common.metrics.measures,
    )

    def use(new: Settings) -> None:
        throttle.use(new.limits)
        api.terms = _terms(common, new)
        found.use(_bounds(common, new))

    common.when_reloaded(use)
    return found


def _bounds(common: Common, settings: Settings) -> HttpBounds:
    return HttpBounds(connections=common.connections.http, connections_each=settings.http_connections_each)


class _Pages:
    """The ASGI applications on the port of the API."""

    def __init__(self, inspected: ASGIApp, console: ASGIApp) -> None:
        self._inspected = inspected
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the inspection API or to the console."""
        is_inspection = scope["raw_path"].startswith(INSPECTION.encode())
        await (self._inspected if is_inspection else self._console)(scope, receive, send)


def _terms(common: Common, settings: Settings) -> Terms:
    """Return the values that the API operations need."""
    own = {settings.domain_of_hostname, settings.delivery.srs_domain} - {""}
    return Terms(
        new_id=lambda: str(uuid.uuid4()),
        page_tokens=PageTokens(common.directory.master_keys.derived("page tokens")),
        token_retention=settings.token_retention,
        email_address_quota=settings.limits.email_addresses,
        domains=Domains(
            shared=settings.shared_domains,
            subaddressed=settings.subaddressing,
            owner=common.owner.account,
            of_server=frozenset(own),
        ),
    )


def _read_fault(table: Mapping[str, Any]) -> FaultRule:
    """Return the fault rule that a request describes. Raises `errors.Invalid`."""
    try:
        return fault_rule(table)
    except BadSetting as error:
        raise errors.Invalid(f"{error}.") from error


def _advance(
    common: Common, worker: Worker | None, maintenance: Maintenance, one_at_a_time: asyncio.Lock
) -> Advance | None:
    """Return the function that advances the mail clock, or None if the mail clock is the real clock."""
    clock = common.virtual_clock
    if clock is None:
        return None

    async def advance(by: timedelta) -> datetime:
        async with one_at_a_time:
            await maintenance.store_planned(timedelta())  # otherwise, these deliveries would miss their attempts
            moment = await clock.advance(by, worker.rest if worker else _rest_without_worker)
            await maintenance.forget_refusals()
            await maintenance.purge()
            await maintenance.remove_old_dead_letters()
            return moment

    return advance


async def _rest_without_worker() -> datetime | None:
    """Return the time of the next delivery attempt: always None, because the service has no worker."""
    return None


def _reset(common: Common, worker: Worker | None, one_at_a_time: asyncio.Lock) -> Reset | None:
    """Return the function that forgets everything, or None if the server is not for tests."""
    if not common.settings.testing:
        return None

    def use_case(tx: ports.WriteTx) -> str:
        instance_id = first_instance(tx, tenant=common.owner, now=now())
        key_id = common.directory.profiles()[0].key.id
        resetting.forget_everything(tx, instance_id=instance_id, access_key_id=key_id, now=now())
        return instance_id

    async def reset() -> str:
        async with one_at_a_time:
            instance_id = await common.store.write(use_case)
            if common.virtual_clock:
                common.virtual_clock.set_back()
            common.ids.forget()
            common.faults.reset()
            if isinstance(common.limit_state, OwnState):
                common.limit_state.forget_times()
            if worker:
                worker.forget()
            return instance_id

    return reset
