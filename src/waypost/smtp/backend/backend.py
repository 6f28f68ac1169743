"""The objects and settings that all SMTP sessions of a server share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.known import Known
from waypost.app.mail import accept
from waypost.app.mail.faults import FaultRules
from waypost.app.ports.failures import STORE_FAILURES
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.measures import Measures
from waypost.observe.tasks import Tasks
from waypost.smtp.backend.aborted_transfers import AbortedTransfers
from waypost.smtp.backend.ids import Ids
from waypost.smtp.backend.refusals import Refusals
from waypost.smtp.backend.unstored_deliveries import UnstoredDeliveries
from waypost.smtp.limits.admission import Admission
from waypost.smtp.limits.memory import Memory
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

KNOWN_RECIPIENTS = 10_000
"""The maximum number of addresses with an owner that a process remembers."""

PIECES_AT_ONCE = 8
"""The maximum number of pieces that are written to the store at the same time. Only large messages are stored in
pieces.

Further pieces wait, so that API calls and small messages do not have to wait."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The objects and settings that all SMTP sessions of a server share."""

    store: ports.Store
    deployment: Deployment
    clock: ports.Clock
    emit: events.Emit
    tasks: Tasks
    admission: Admission
    memory: Memory
    authenticator: ports.Authenticator | None = None
    """Checks SPF, DKIM and DMARC; None if the server checks no mail."""
    enforces: bool = False
    """Whether the server refuses a message that fails DMARC, if the DMARC policy of the author's domain asks for
    rejection."""
    stores_refusals_at_once: bool = False
    """Whether a refusal is stored before the client gets the reply. This takes longer, but a test can then read it."""
    has_work: Callable[[], None] = lambda: None
    """Called when an accepted message has deliveries that are waiting to be sent."""
    is_full: Callable[[], bool] = lambda: False
    """Returns whether the disk is too full to accept mail."""
    measures: Measures = field(default_factory=Measures)
    ids: Ids = field(default_factory=Ids)
    known: Known[bool] = field(default_factory=lambda: Known(KNOWN_RECIPIENTS))
    """The addresses that have an owner, by their keys, so that most RCPT commands need no query."""
    faults: FaultRules = field(default_factory=FaultRules)
    """The faults that are injected into sessions, for tests."""
    pieces: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PIECES_AT_ONCE))

    @cached_property
    def incidents(self) -> Incidents:
        """The object that reports internal errors."""
        return Incidents(self.emit, of_store=STORE_FAILURES)

    @cached_property
    def refusals(self) -> Refusals:
        """The object that stores refusals for the trace."""
        return Refusals(self.store, self.clock, self.failed, self.tasks, at_once=self.stores_refusals_at_once)

    @cached_property
    def aborted_transfers(self) -> AbortedTransfers:
        """The object that deletes the pieces of incomplete messages."""
        return AbortedTransfers(self.store, failed=self.failed, tasks=self.tasks)

    @cached_property
    def unstored_deliveries(self) -> UnstoredDeliveries:
        """Stores planned deliveries that could not be stored immediately."""
        return UnstoredDeliveries(self.store_planned, failed=self.failed, tasks=self.tasks)

    async def store_planned(self, message_id: str) -> None:
        """Store the planned deliveries of an accepted message, and wake the worker."""
        await accept.store_all_planned(self.store, self.deployment, message_id=message_id, now=self.clock())
        self.has_work()

    def failed(self, error: Exception) -> Reply:
        """Log the cause of an internal error, and return a temporary failure reply with the incident's id."""
        incident = self.incidents.report(error, where="smtp")
        return replies.TRY_AGAIN.about(id=incident.id)
