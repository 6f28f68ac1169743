"""Changes of a delivery: its status and the line in the trace of its message are written together."""

from datetime import datetime

from waypost.app import ports
from waypost.domain.mail.delivery import Delivery, Event, after
from waypost.domain.mail.trace_events import DeliveryChange, TraceDetail, TraceEvent


def happened(
    tx: ports.WriteTx,
    delivery: Delivery,
    change: DeliveryChange,
    *,
    now: datetime,
    kept: bool | None = None,
    destination: str | None = None,
) -> None:
    """Record what happened to a delivery in its row and in the trace.

    `kept` and `destination` are its new values; None leaves them as they are.
    """
    tx.update_delivery(
        delivery,
        status=after(delivery.status, Event(change.kind)),
        kept=delivery.kept if kept is None else kept,
        destination=delivery.destination if destination is None else destination,
    )
    tell(tx, delivery, change, now=now)


def tell(tx: ports.WriteTx, delivery: Delivery, detail: TraceDetail, *, now: datetime) -> None:
    """Add a line about a delivery to the trace of its message."""
    tx.add_events(delivery.message_id, [TraceEvent(now, detail)])
