"""The part of a service that delivers mail: a worker that claims deliveries from the queue, and a transport for each
protocol.
"""

import random

from waypost.delivery.maildir import MaildirTransport
from waypost.delivery.outgoing import Transports
from waypost.delivery.queue.worker import Dependencies, Worker
from waypost.delivery.smtp_client.connection import Timeouts
from waypost.delivery.smtp_client.dns import Resolver
from waypost.delivery.smtp_client.transport import SmtpTransport
from waypost.delivery.webhook import WebhookTransport
from waypost.server.assembly.common import Common


def worker(common: Common) -> Worker:
    """Return the worker of a service. The worker claims no deliveries before its `start` is called."""
    hostname = common.settings.real_hostname
    resolver = Resolver(common.settings.dns, shuffler=random.SystemRandom())
    smtp = SmtpTransport(hostname=hostname, timeouts=Timeouts(), resolve=resolver)
    transports = Transports(smtp=smtp, maildir=MaildirTransport(hostname), webhook=WebhookTransport())
    clock, ids = common.mail_clock, common.ids
    return Worker(
        Dependencies(
            store=common.store,
            deployment=common.deployment,
            transports=transports.by_protocol(),
            clock=clock,
            emit=common.emit,
            measures=common.metrics.measures,
            spans=common.spans,
            tasks=common.tasks,
            new_id=lambda: ids.new(clock()),
            connections=max(1, common.settings.delivery.connections // common.processes),
            is_alone=common.is_alone,
        )
    )
