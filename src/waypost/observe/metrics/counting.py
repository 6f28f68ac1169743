"""Says what each event counts. The functions are pure, and `arrays` does the counting."""

from collections.abc import Callable, Mapping
from typing import Any

from waypost.observe import events
from waypost.observe.events import Event
from waypost.observe.metrics import families
from waypost.observe.metrics.families import OTHER, Family, Sample


def counts_of(event: Event) -> tuple[Sample, ...]:
    """Return what an event adds to which counters. Most events add nothing."""
    count = _COUNTS.get(type(event))
    return count(event) if count else ()


def is_counted(kind: type[Any]) -> bool:
    """Return whether events of this class add to a counter."""
    return kind in _COUNTS


# Mail

_REASONS: Mapping[str, str] = {
    "421 4.7.0": "guessing",
    "450 4.7.1": "rate",
    "451 4.2.1": "unknown_recipient",
    "451 4.7.0": "unauthenticated",
    "452 4.3.1": "capacity",
    "452 4.5.3": "recipients",
    "500 5.5.2": "syntax",
    "501 5.5.4": "syntax",
    "503 5.5.1": "syntax",
    "521 5.5.2": "line_ends",
    "550 5.1.1": "unknown_recipient",
    "550 5.7.1": "unauthenticated",
    "550 5.7.26": "unauthenticated",
    "552 5.3.4": "size",
    "553 5.1.3": "syntax",
    "553 5.6.7": "syntax",
    "554 5.4.6": "loop",
    "554 5.5.1": "recipients",
    "554 5.5.2": "line_ends",
    "555 5.5.4": "syntax",
}
"""The reason for a refusal, by the code and the enhanced code of the reply."""


def reason(reply: str) -> str:
    """Return the kind of reason for which a reply refuses mail."""
    return _REASONS.get(" ".join(reply.split(" ", 2)[:2]), OTHER)


_ROUTES: Mapping[str, str] = {
    "smtp": "smtp",
    "smtps": "smtp",
    "mx": "mx",
    "lmtp": "lmtp",
    "maildir": "maildir",
    "http": "webhook",
    "https": "webhook",
}


def kind_of_route(destination: str) -> str:
    """Return the kind of route of a delivery's destination, such as `smtp` or `webhook`."""
    return _ROUTES.get(destination.partition(":")[0], OTHER)


def _accepted(event: events.MessageAccepted) -> tuple[Sample, ...]:
    return (
        (families.MESSAGES_ACCEPTED, (), 1),
        (families.RECIPIENTS_ACCEPTED, (), event.recipients),
        (families.OCTETS_ACCEPTED, (), event.size),
    )


def _message_refused(event: events.MessageRefused) -> tuple[Sample, ...]:
    return ((families.MESSAGES_REFUSED, (reason(event.reply),), 1),)


def _recipient_refused(event: events.RecipientRefused) -> tuple[Sample, ...]:
    return ((families.RECIPIENTS_REFUSED, (reason(event.reply),), 1),)


def _of_route(family: Family) -> "Callable[[Any], tuple[Sample, ...]]":
    def count(event: events.Delivered | events.DeliveryDeferred | events.GivenUp) -> tuple[Sample, ...]:
        return ((family, (kind_of_route(event.destination),), 1),)

    return count


# Connections


def _connections_refused(event: events.ConnectionsRefused) -> tuple[Sample, ...]:
    protocol = "http" if event.reply.startswith("503") else "smtp"
    return ((families.CONNECTIONS_REFUSED, (protocol,), event.count),)


# Trouble


def _part(where: str) -> str:
    """Return the part of the server that an incident's `where` names. The jobs of the maintenance have names of their
    own.
    """
    return "upkeep" if where in _JOBS else where


_JOBS = frozenset(
    {
        "deleted instances",
        "expired tokens and sessions",
        "notes of mail",
        "old dead letters",
        "old refusals",
        "planned deliveries",
        "purge",
        "unfinished messages",
    }
)


def _one(family: Family) -> "Callable[[Any], tuple[Sample, ...]]":
    """Return the function for an event that adds one to a counter without labels."""
    counts: tuple[Sample, ...] = ((family, (), 1),)
    return lambda _: counts


_COUNTS: Mapping[type[Any], Callable[[Any], tuple[Sample, ...]]] = {
    events.MessageAccepted: _accepted,
    events.MessageRefused: _message_refused,
    events.RecipientRefused: _recipient_refused,
    events.Delivered: _of_route(families.DELIVERED),
    events.DeliveryDeferred: _of_route(families.DEFERRED),
    events.GivenUp: _of_route(families.DEAD),
    events.DeadLettersRemoved: lambda event: ((families.DEAD_REMOVED, (event.reason,), event.count),),
    events.LeaseLost: _one(families.LEASES_LOST),
    events.ConnectionsRefused: _connections_refused,
    events.TlsFailed: lambda event: ((families.TLS_HANDSHAKES, (event.protocol, "failed", "none"), event.count),),
    events.StoreFailed: lambda event: ((families.STORE_ERRORS, (_part(event.where),), 1),),
    events.Failed: lambda event: ((families.INCIDENTS, (_part(event.where),), 1),),
    events.Damaged: lambda event: ((families.INCIDENTS, (_part(event.where),), 1),),
    events.LinesDropped: lambda event: ((families.LOG_LINES_DROPPED, (), event.count),),
    events.WorkerEnded: _one(families.WORKER_RESTARTS),
}
"""The events that are counted, each with the function that says what it counts."""
