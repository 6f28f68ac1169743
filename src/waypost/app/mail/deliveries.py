"""Update deliveries. A delivery's new status, and the event that records it in the message's trace, are written in one
transaction.
"""

from collections.abc import Sequence
from datetime import datetime

from waypost.app import ports
from waypost.domain.dsn.redact import one_line
from waypost.domain.mail.delivery import Delivery, Event, Status, after
from waypost.domain.mail.trace_events import DeadEvent, DeliveredEvent, DeliveryChange, TraceDetail, TraceEvent


def happened(
    tx: ports.WriteTx,
    delivery: Delivery,
    change: DeliveryChange,
    *,
    now: datetime,
    kept: bool | None = None,
    destination: str | None = None,
) -> None:
    """Record a change to a delivery in two places: in the delivery's row, which the program reads, and in the message's
    trace, which people read.

    `kept` and `destination` are new values for the delivery; None keeps the old value.
    """
    tx.update_delivery(
        delivery,
        status=after(delivery.status, Event(change.kind)),
        kept=delivery.kept if kept is None else kept,
        destination=delivery.destination if destination is None else destination,
    )
    if isinstance(change, DeadEvent):
        tx.put_given_up(delivery, at=now, because=reason_kept(change.because))
    tell(tx, delivery, change, now=now)


def all_delivered(tx: ports.WriteTx, delivered: Sequence[tuple[Delivery, DeliveredEvent, datetime]]) -> None:
    """Record that several queued deliveries were delivered, like `happened`. The caller has locked their messages."""
    tx.update_statuses([delivery for delivery, _, _ in delivered], after(Status.QUEUED, Event.DELIVERED))
    tx.add_event_each([(delivery.message_id, TraceEvent(at, event)) for delivery, event, at in delivered])


REASON_LIMIT = 1_000
"""The maximum length, in characters, of the failure reason that a delivery's row stores."""


def reason_kept(because: str) -> str:
    """Convert a reason to the form in which a delivery's row stores it: one line of at most `REASON_LIMIT` characters,
    with each unpaired surrogate replaced by `?`.
    """
    return one_line(because, REASON_LIMIT).encode("utf-8", "replace").decode()


def tell(tx: ports.WriteTx, delivery: Delivery, detail: TraceDetail, *, now: datetime) -> None:
    """Add an event about a delivery to the trace of its message."""
    tx.add_events(delivery.message_id, [TraceEvent(now, detail)])
