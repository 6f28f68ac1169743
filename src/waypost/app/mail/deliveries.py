"""Changes of a delivery: its status and the line in the trace of its message are written together."""

from datetime import datetime

from waypost.app import ports
from waypost.domain.dsn.redact import one_line
from waypost.domain.mail.delivery import Delivery, Event, after
from waypost.domain.mail.trace_events import DeadEvent, DeliveryChange, TraceDetail, TraceEvent


def happened(
    tx: ports.WriteTx,
    delivery: Delivery,
    change: DeliveryChange,
    *,
    now: datetime,
    kept: bool | None = None,
    destination: str | None = None,
) -> None:
    """Record what happened to a delivery in its row, which lists and rules read, and in the trace, which people read.

    `kept` and `destination` are its new values; None keeps the old ones.
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


REASON_LIMIT = 1_000
"""Characters of the reason for a failed attempt that are kept in the delivery's row."""


def reason_kept(because: str) -> str:
    """A reason in one line, as a delivery's row has it. It is converted by UTF-8, which has no unpaired surrogates."""
    return one_line(because, REASON_LIMIT).encode("utf-8", "replace").decode()


def tell(tx: ports.WriteTx, delivery: Delivery, detail: TraceDetail, *, now: datetime) -> None:
    """Add a line about a delivery to the trace of its message."""
    tx.add_events(delivery.message_id, [TraceEvent(now, detail)])
