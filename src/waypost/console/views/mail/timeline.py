"""Arranges the events of a trace as the points of a timeline."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from waypost.domain.mail import trace_events
from waypost.domain.mail.delivery import Delivery, Status
from waypost.domain.mail.trace_events import (
    AcceptedEvent,
    CheckedEvent,
    DeadEvent,
    DeferredEvent,
    DelayedEvent,
    DeliveredEvent,
    LateBounceEvent,
    TraceDetail,
    TraceEvent,
    address_of,
)
from waypost.domain.mail.trace_secrets import without_secrets_of_url

POINTS = 200
"""The maximum number of points. A message to very many addresses has more events than a person can read."""


class Point(Struct, frozen=True):
    """A point of the timeline."""

    at: datetime | None
    """The time of the event; None if it has not happened yet."""
    label: str
    after: str = ""
    """The time since the first event, such as `+3 s`; empty if the event has not happened yet."""
    address: str = ""
    """The email address that the event is about; empty if it is about the whole message."""
    destination: str = ""
    said: str = ""
    """What the peer replied, or the trouble with it; empty if there was no peer."""
    fault: str = ""
    """The fault that was injected into the attempt, or the rules that injected faults into the session; otherwise
    empty."""
    facts: tuple[tuple[str, str], ...] = ()
    """The names and values of all members of the event, for people who want to know everything."""
    colour: str = ""
    """`red`, `amber`, `open` (not yet), or empty."""


def points(events: Sequence[TraceEvent], deliveries: Sequence[Delivery]) -> list[Point]:
    """Return the points of a trace in order of time, and then a point for each delivery that still waits."""
    found = [_point(event, since=events[0].at) for event in events[:POINTS]]
    waiting = [one for one in deliveries if one.status is Status.QUEUED]
    return found + [Point(None, "next attempt", address=one.address.text, colour="open") for one in waiting[:POINTS]]


def elapsed(duration: timedelta) -> str:
    """Return a duration in words, with its two largest units, such as `+1 h 5 min`."""
    milliseconds = max(0, duration // timedelta(milliseconds=1))
    if milliseconds < 1000:
        return f"+{milliseconds} ms"
    seconds = milliseconds // 1000
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    largest = next(place for place, (count, _) in enumerate(parts) if count)
    return "+" + " ".join(f"{count} {unit}" for count, unit in parts[largest : largest + 2] if count)


def _point(event: TraceEvent, *, since: datetime) -> Point:
    detail = without_secrets_of_url(event.detail)
    members = trace_events.members(detail)
    said = str(members.get("reply") or members.get("trouble") or "")
    facts = tuple((name, str(value)) for name, value in members.items() if name not in {"address", "reply"})
    label = "in the inbox" if isinstance(detail, DeliveredEvent) and detail.attempt is None else detail.kind
    return Point(
        event.at,
        label,
        elapsed(event.at - since),
        address_of(detail),
        str(members.get("destination", "")),
        said,
        str(members.get("fault") or members.get("faults") or ""),
        facts,
        _colour(detail),
    )


def _colour(detail: TraceDetail) -> str:
    if isinstance(detail, DeadEvent | LateBounceEvent):
        return "red"
    if isinstance(detail, DeferredEvent | DelayedEvent):
        return "amber"
    if isinstance(detail, AcceptedEvent) and detail.unchecked:
        return "amber"
    return "red" if isinstance(detail, CheckedEvent) and detail.dmarc.startswith("fail") else ""
