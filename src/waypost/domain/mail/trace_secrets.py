"""Removes the secrets of destinations from the events of a trace before a person sees them."""

from msgspec.structs import replace

from waypost.domain.mail.routes import shown, without_secrets
from waypost.domain.mail.trace_events import (
    DeadEvent,
    DeferredEvent,
    DeliveredEvent,
    MovedEvent,
    OtherEvent,
    QueuedEvent,
    RedrivenEvent,
    TraceDetail,
)


def without_secrets_of_url(detail: TraceDetail) -> TraceDetail:
    """Return an event without those parts of its destination that may be secret.

    The store contains the complete destination. Secret parts are also removed from text that a peer wrote. Text that
    Waypost wrote stays unchanged, because an address or a word in such text may happen to match a part of the URL.
    """
    if isinstance(detail, QueuedEvent | MovedEvent | RedrivenEvent):
        return replace(detail, destination=shown(detail.destination))
    if isinstance(detail, DeliveredEvent | DeferredEvent | DeadEvent) and detail.attempt:
        attempt, to = detail.attempt, detail.attempt.destination
        peer, reply = without_secrets(attempt.peer, to), without_secrets(attempt.reply, to)
        redacted = replace(attempt, destination=shown(to), peer=peer, reply=reply)
        return replace(detail, attempt=redacted, because=without_secrets(detail.because, to))
    if isinstance(detail, OtherEvent) and "destination" in detail.members:  # any member may contain text from a peer
        to = str(detail.members["destination"])
        texts = {name: without_secrets(text, to) for name, text in detail.members.items() if isinstance(text, str)}
        return OtherEvent(detail.kind, {**detail.members, **texts, "destination": shown(to)})
    return detail
