"""Makes the values that all parts of a service share, including the values that the use cases for mail need."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

from msgspec import Struct

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail.faults import FaultRules
from waypost.app.mail.wanted import NotesWanted
from waypost.config.settings import Settings
from waypost.delivery.queue.worker import Worker
from waypost.domain.directory.instances import Tenant
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth.mail_secrets import Accepted
from waypost.host.clock import VirtualClock, now
from waypost.host.data_directory import DataDirectory
from waypost.host.disk import DiskGuard, free_octets
from waypost.observe import events
from waypost.observe.metrics.arrays import Metrics
from waypost.observe.spans.spans import Spans
from waypost.observe.tasks import Tasks
from waypost.server import start_warnings
from waypost.server.open_files import FILES_OF_AN_ATTEMPT, OWN_FILES, Connections, connections_within
from waypost.smtp.backend.ids import Ids

UseSettings = Callable[[Settings], None]
"""Makes a part of the service use new settings. The part ignores settings that cannot be reloaded."""


class Common(Struct, frozen=True, kw_only=True):
    """The values that are used to make all parts of one service."""

    settings: Settings
    directory: DataDirectory
    store: ports.Store
    is_alone: bool
    """Whether no other process can be using the same database while this service starts."""
    owner: Tenant
    """The account and region of the server owner's access key."""
    deployment: Deployment
    connections: Connections
    disk_guard: DiskGuard
    virtual_clock: VirtualClock | None
    """The virtual clock for mail; None if the clock for mail is the real clock."""
    faults: FaultRules
    """The rules by which faults are injected into incoming mail."""
    ids: Ids
    """The generator of message ids."""
    limit_state: ports.LimitState
    """The tables for the limits on clients."""
    notes: NotesWanted
    """Lets the jobs run that note and index mail."""
    processes: int
    """The number of processes that the server consists of."""
    when_reloaded: Callable[[UseSettings], None]
    """Takes a function that must be called with the new settings when the settings are reloaded."""
    emit: events.Emit
    metrics: Metrics
    spans: Spans | None
    """Makes spans for OpenTelemetry; None if the settings name no collector."""
    tasks: Tasks

    @property
    def mail_clock(self) -> ports.Clock:
        """The clock for mail, which can be a virtual clock. The clock for API calls and access keys is always the real
        clock.
        """
        return self.virtual_clock or now


def deployment(
    settings: Settings, directory: DataDirectory, *, owner: str, secrets: Accepted | None = None
) -> Deployment:
    """Return the values that the use cases for mail need. `owner` is the account of the server's owner. `secrets` sign
    rewritten senders and loop tokens; None if they have never been rotated.
    """
    delivery = settings.delivery
    derived = lru_cache(maxsize=8)(lambda period: directory.master_keys.derived(f"rewritten senders {period}"))
    return Deployment(
        hostname=settings.real_hostname,
        loop_key=secrets.signing.loop_key if secrets else directory.master_keys.derived("loop tokens"),
        routes=settings.routes,
        routes_revision=routes.revision(settings.routes) if settings.routes else "",
        policy=delivery.policy,
        bounces=delivery.bounces,
        bounces_via=delivery.bounces_via,
        confirm_outside=delivery.confirm_outside,
        delay_warning=delivery.delay_warning,
        srs_domain=delivery.srs_domain,
        srs_key=secrets.signing.srs_key if secrets else derived,
        other_secrets=secrets.others if secrets else (),
        owner=owner,
        subaddressed=settings.subaddressing,
        own_domains=delivery.own_domains,
    )


def routes_of_settings(settings: Settings) -> Sequence[Route]:
    """Return all routes in the settings, including the route for notices."""
    via = settings.delivery.bounces_via
    return [*settings.routes, *([via] if via else [])]


def connections(
    settings: Settings, *, files: float, has_connections: bool, emit: events.Emit, warn: Callable[[str], None]
) -> Connections:
    """Return the limits on client connections. The limits are lower than in the settings if the operating system does
    not allow the process to open enough files.

    If they are lower, the function logs an event, and calls `warn` with a warning for the person who starts the server.
    `files` is the number of files that the process may open. `has_connections` is true if the process connects to
    PostgreSQL.
    """
    wanted, others = _wanted_files(settings, has_connections=has_connections)
    possible = connections_within(files, wanted, others=others)
    if possible != wanted:
        emit(events.ConnectionsLimited(connections=possible.smtp, http_connections=possible.http, files=int(files)))
        needed = needed_files(settings, has_connections=has_connections)
        warn(start_warnings.of_connections(possible, files=int(files), wanted=needed))
    return possible


def needed_files(settings: Settings, *, has_connections: bool) -> int:
    """Return the number of files that a process must be able to open for all connections that the settings allow.

    `has_connections` is true if the process connects to PostgreSQL.
    """
    wanted, others = _wanted_files(settings, has_connections=has_connections)
    return sum(wanted) + OWN_FILES + others


def _wanted_files(settings: Settings, *, has_connections: bool) -> tuple[Connections, int]:
    """Return the numbers of client connections that the settings allow, and the number of files for the server's own
    connections.
    """
    to_database = settings.database_connections if has_connections else 0
    others = FILES_OF_AN_ATTEMPT * settings.delivery.connections + to_database
    return Connections(settings.smtp_connections, settings.http_connections), others


def disk_guard(
    settings: Settings, directory: DataDirectory, store: ports.Store, *, emit: events.Emit, warn: Callable[[str], None]
) -> DiskGuard:
    """Return the guard that refuses mail while the disk is too full. If the disk is already too full, call `warn` with
    a warning.
    """
    guard = DiskGuard(directory.path, settings.disk_reserve, emit=emit, reusable=store.reusable_octets)
    if guard.is_full():
        with suppress(OSError):
            free = free_octets(directory.path)
            warn(start_warnings.of_disk(str(directory.path), free=free, reserve=settings.disk_reserve))
    return guard


def waking(worker: Worker | None) -> Callable[[], None]:
    """Return the function to call when there is mail to deliver. `worker` is None if only other services deliver
    mail.
    """
    return worker.wake if worker else _wake_no_worker


def _wake_no_worker() -> None:
    """Do nothing, because the workers of other services check the queue every few seconds."""
