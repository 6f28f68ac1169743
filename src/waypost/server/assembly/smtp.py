"""The part of a service that receives mail: listeners for SMTP and LMTP, their certificate, and the sender checks."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from waypost.config.settings import Authentication, Settings
from waypost.delivery.queue.worker import Worker
from waypost.mailauth.checker import Checker
from waypost.net.certificates import Certificates
from waypost.observe import events
from waypost.observe.tasks import OnError
from waypost.server.assembly import certificates
from waypost.server.assembly.common import Common, waking
from waypost.smtp.backend.backend import Backend
from waypost.smtp.limits.admission import Admission
from waypost.smtp.limits.memory import Memory
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.server.interfaces import Listener
from waypost.smtp.server.listener import SmtpServer

LEAST_MEMORY = 4 * 1024 * 1024
"""The minimum number of bytes for incoming mail in one worker process, even if its share of `--smtp-memory` is less."""


class SmtpEdge(Struct, frozen=True):
    """The SMTP server of a service, and its sender checks."""

    server: SmtpServer
    checker: Checker | None
    """The checker for SPF, DKIM and DMARC; None if the settings turn it off."""

    async def begin(self, opened: AsyncExitStack) -> None:
        """Start the sender checks. Call this method before the server starts to listen.

        When `opened` is closed, it first stops the server, and then the sender checks.
        """
        if self.checker:
            await self.checker.start()
            opened.push_async_callback(self.checker.stop)
        opened.push_async_callback(self.server.backend.refusals.close)
        opened.push_async_callback(self.server.stop)


def edge(common: Common, *, worker: Worker | None, warn: Callable[[str], None]) -> SmtpEdge:
    """Return the part of a service that receives mail. Its listeners are not open yet.

    `worker` is None if only other services deliver mail. The function calls `warn` with warnings for the person who
    starts the server. Raises `CannotStart`.
    """
    served = certificates.of_mail(common, warn)
    checker = _checker(common)
    return SmtpEdge(_server(common, checker=checker, worker=worker, served=served), checker)


def _checker(common: Common) -> Checker | None:
    if not common.settings.checks_senders:
        return None
    return Checker(
        common.settings.dns,
        lambda why_not: common.emit(events.DnsChanged(works=why_not is None, reason=why_not or "")),
        start_task=partial(common.tasks.start, where="authentication", on_error=OnError.RESTART),
    )


def _server(
    common: Common, *, checker: Checker | None, worker: Worker | None, served: Certificates | None
) -> SmtpServer:
    settings = common.settings
    limits = _limits(common, settings)
    backend = Backend(
        store=common.store,
        deployment=common.deployment,
        clock=common.mail_clock,
        ids=common.ids,
        has_work=waking(worker),
        is_full=common.disk_guard.is_full,
        faults=common.faults,
        emit=common.emit,
        measures=common.metrics.measures,
        tasks=common.tasks,
        admission=Admission(limits, common.limit_state),
        memory=Memory(limits.memory),
        authenticator=checker,
        enforces=settings.authentication is Authentication.ENFORCE,
        stores_refusals_at_once=settings.testing,
    )
    server = SmtpServer(
        backend,
        limits=limits,
        certificates=served,
        proxy_networks=settings.proxy_networks,
        trusted_networks=settings.trusted_networks,
    )
    common.when_reloaded(lambda new: server.use(_limits(common, new), new.trusted_networks))
    return server


def _limits(common: Common, settings: Settings) -> SmtpLimits:
    return SmtpLimits(
        connections=common.connections.smtp,
        connections_each=settings.smtp_connections_each,
        new_connections_a_minute=settings.smtp_new_connections_each,
        messages_a_minute=settings.smtp_messages_each,
        memory=max(LEAST_MEMORY, settings.smtp_memory // common.processes),
        greeting_delay=settings.greeting_delay.total_seconds(),
    )


def listeners(settings: Settings) -> list[Listener]:
    """Return the kinds of listeners, with the protocol of each kind and whether its clients are trusted."""
    capabilities = Capabilities(
        hostname=settings.real_hostname,
        offers_tls=bool(settings.tls_certificate),
        needs_tls=settings.tls_required,
        unknown_recipient_limit=settings.smtp_unknown_recipients,
    )
    return [
        Listener(name="smtp", capabilities=capabilities),
        Listener(name="smtps", capabilities=capabilities, is_tls=True),
        Listener(name="lmtp", capabilities=replace(capabilities, lmtp=True, needs_tls=False), trusted=True),
    ]
