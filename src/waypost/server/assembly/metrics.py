"""Makes the page with the metrics: reads the gauges of this process and of the server, and renders all values.

The page must not delay mail or calls. The queue and the certificate are read, and the page is rendered, outside of the
event loop.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

from waypost.app.limit_state import OwnState
from waypost.app.ports import StoreUnavailable
from waypost.app.rate_limits import FailedSignatures
from waypost.host.clock import now
from waypost.inspection import asgi as inspection
from waypost.inspection import metrics
from waypost.inspection.guard import Guard
from waypost.inspection.health import HealthPages
from waypost.observe.metrics import families
from waypost.observe.metrics.families import Sample
from waypost.server.assembly.common import Common
from waypost.server.backlogs import Backlogs
from waypost.server.database_clock import DatabaseClock
from waypost.server.http.limits import HttpBounds
from waypost.server.http.server import HttpServer
from waypost.smtp.server.listener import SmtpServer

BOUNDS = HttpBounds(connections=20, connections_each=8)
"""The limits of the listener for metrics. One client cannot use up the connections that Prometheus and probes need."""

PUBLISH_EVERY = 2.0
"""Seconds after which a worker process publishes its gauges for the other processes, which may answer a request."""


class MetricsText:
    """The text of the metrics of one server."""

    def __init__(self, common: Common, clock: DatabaseClock) -> None:
        self._common, self._clock = common, clock
        self._backlogs = Backlogs(common.store, common.mail_clock, common.tasks)
        self.calls: HttpServer | None = None
        """The HTTP server of the API, if the service has one."""
        self.mail: SmtpServer | None = None
        """The mail server, if the service has one."""

    async def rendered(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its media type, for the Accept field of a request."""
        self._publish()
        gauges = [*self._of_server(), *await self._backlogs.samples()]
        return await asyncio.to_thread(self._rendered, self._common.metrics.totals(), gauges, accept)

    async def prepare(self) -> None:
        """Load what the page needs, so that a monitoring program does not wait for it at its first request."""
        await self.rendered("")

    async def publish(self) -> None:
        """Publish the gauges of this process for the other processes repeatedly, until cancelled."""
        while True:
            self._publish()
            await asyncio.sleep(PUBLISH_EVERY)

    def _publish(self) -> None:
        self._common.metrics.put(self._of_process())

    def _rendered(self, totals: Sequence[float], gauges: list[Sample], accept: str) -> tuple[bytes, str]:
        from waypost.observe.metrics import page  # noqa: PLC0415 - most servers never need prometheus-client

        without = () if self._common.settings.probe_alias else families.PROBE_GAUGES
        return page.rendered(totals, [*gauges, *self._of_certificate()], accept, without=without)

    def _of_process(self) -> Iterator[Sample]:
        """Yield the gauges of this process."""
        if self.calls:
            yield families.HTTP_CONNECTIONS, (), self.calls.open_connections
        if self.mail:
            memory, states = self.mail.backend.memory, self.mail.count_states()
            yield families.MEMORY_USED, (), memory.used
            yield families.MEMORY_LIMIT, (), memory.limit
            for series in families.SESSIONS.series:
                yield families.SESSIONS, series, states[series[0]]

    def _of_server(self) -> Iterator[Sample]:
        """Yield the gauges of the server that can be read at once."""
        common = self._common
        yield families.START_TIME, (), common.metrics.since
        yield families.SESSIONS_LIMIT, (), common.connections.smtp
        yield families.HTTP_CONNECTIONS_LIMIT, (), common.connections.http
        yield families.QUEUE_HELD, (), int(common.settings.hold_queue)
        yield families.DISK_RESERVE, (), common.settings.disk_reserve
        if self._clock.ahead is not None:
            yield families.CLOCK_SKEW, (), self._clock.ahead
        with suppress(OSError, StoreUnavailable):
            yield families.DISK_FREE, (), common.disk_guard.free_for_mail()

    def _of_certificate(self) -> Iterator[Sample]:
        for protocol, server in (("smtp", self.mail), ("http", self.calls)):
            certificates = server.certificates if server else None
            facts = certificates.facts() if certificates else None
            if facts:
                yield families.CERTIFICATE_EXPIRY, (protocol,), facts.not_after.timestamp()


def server(common: Common, text: MetricsText) -> HttpServer:
    """Return the HTTP server for the metrics and the server's health alone. The server does not listen yet."""
    owner = common.deployment.owner
    keeper = Guard(
        common.store,
        failures=FailedSignatures(common.limit_state),
        clock=now,
        emit=common.emit,
        own_names=common.settings.own_http_names,
    )
    page = metrics.MetricsPage(text.rendered, owner=owner)
    return HttpServer(
        metrics.application(keeper, HealthPages(common.store), page, owner=owner, prefix=inspection.PREFIX),
        bounds=BOUNDS,
        emit=common.emit,
        tasks=common.tasks,
        limit_state=OwnState(),  # so that clients of the API cannot use up these connections
    )
