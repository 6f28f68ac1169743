"""What happens to a delivery: how far it has come by it, and the line of the trace that tells of it; always both."""

from collections.abc import Mapping
from datetime import datetime

from waypost.app import ports
from waypost.domain.delivery import Delivery, Event, after


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
    """Record an event of a delivery; and where it is now, if that is somewhere else."""
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
