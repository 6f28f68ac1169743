"""Changes of a delivery: its status and the line in the trace of its message are written together."""

from collections.abc import Mapping
from datetime import datetime

from waypost.app import ports
from waypost.domain.mail.delivery import Delivery, Event, after


def happened(
    tx: ports.WriteTx,
    delivery: Delivery,
    event: Event,
    details: Mapping[str, str | int],
    *,
    now: datetime,
    kept: bool | None = None,
    destination: str | None = None,
) -> None:
    """Record an event of a delivery in its row and in the trace.

    `kept` and `destination` are its new values; None leaves them as they are.
    """
    tx.update_delivery(
        delivery,
        status=after(delivery.status, event),
        kept=delivery.kept if kept is None else kept,
        destination=delivery.destination if destination is None else destination,
    )
    tell(tx, delivery, event, details, now=now)


def tell(tx: ports.WriteTx, delivery: Delivery, kind: str, details: Mapping[str, str | int], *, now: datetime) -> None:
    """Add a line about a delivery to the trace of its message."""
    tx.add_events(delivery.message_id, [ports.TraceEvent(now, kind, {"address": delivery.address.text, **details})])
