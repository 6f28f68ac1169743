"""Formats the trace of a message as readable lines of text."""

from collections.abc import Iterator
from typing import assert_never

from waypost.app import inspection_schema as schema
from waypost.client.text import plain
from waypost.domain.mail import trace_events
from waypost.domain.mail.trace_events import (
    AcceptedEvent,
    Attempt,
    CheckedEvent,
    DeadEvent,
    DeferredEvent,
    DelayedEvent,
    DeletedEvent,
    DeliveredEvent,
    LateBounceEvent,
    MovedEvent,
    NotifiedEvent,
    NotNotifiedEvent,
    OtherEvent,
    QueuedEvent,
    RedrivenEvent,
    SparedEvent,
    TraceDetail,
)

_INDENT = " " * 6


def message(found: schema.MessageWithTrace) -> Iterator[str]:
    """Yield the lines that describe one message: its envelope and subject, its deliveries, and its trace."""
    to = dict.fromkeys(delivery["to"] for delivery in found["deliveries"])
    yield f"Message {found['id']}, received {found['received_at']}"
    yield f"  from       <{plain(found['from'])}>"
    for recipient in to:
        yield f"  to         <{plain(recipient)}>"
    yield f"  subject    {plain(found['subject']) or '(none)'}"
    for delivery in found["deliveries"]:
        yield f"  {delivery['status']:9}  {plain(delivery['address'])}{_where(delivery)}"
    yield ""
    for event in found["trace"]:
        yield from event_lines(event)


def event_lines(event: schema.TraceLine) -> Iterator[str]:
    """Yield the lines that describe one trace event: a line with its time, and indented lines with its details."""
    detail = detail_of(event)
    yield f"  {event['at']}  {plain(_head(detail))}"
    for line in _details(detail):
        if line:
            yield _INDENT + " ".join(plain(line).split())


def detail_of(event: schema.TraceLine) -> TraceDetail:
    """Convert the JSON object of a trace event, as the server returns it, into an instance of the event's class."""
    members = {name: value for name, value in event.items() if name not in {"at", "event"}}
    return trace_events.from_members(event["event"], members)


def _head(detail: TraceDetail) -> str:  # noqa: C901, PLR0912 - one case for each kind of event
    """Describe an event in a short phrase."""
    match detail:
        case AcceptedEvent():
            return f"accepted from {detail.peer} ({detail.helo}) by {detail.protocol}, {detail.size} bytes"
        case CheckedEvent():
            return f"sender checked: SPF {detail.spf}; DKIM {detail.dkim}; DMARC {detail.dmarc}"
        case QueuedEvent():
            return f"queued for {detail.address}, by {detail.destination}"
        case DeliveredEvent():
            by = f" by {detail.attempt.destination}, with attempt {detail.attempt.number}" if detail.attempt else ""
            return f"delivered to {detail.address}{by}"
        case MovedEvent():
            return f"queued again for {detail.address}, now by {detail.destination}"
        case DeferredEvent():
            number = detail.attempt.number
            return f"attempt {number} for {detail.address} did not succeed; the next one is at {detail.until}"
        case DeadEvent():
            after = f" after attempt {detail.attempt.number}" if detail.attempt else ""
            return f"given up for {detail.address}{after}: a dead letter"
        case RedrivenEvent():
            return f"tried again for {detail.address}"
        case DelayedEvent():
            return f"the delivery to {detail.address} is delayed, and a warning is due"
        case NotifiedEvent():
            return (
                f"the {detail.whom} was sent a notice about {detail.address} ({detail.what}): message {detail.notice}"
            )
        case NotNotifiedEvent():
            return f"no notice was sent about {detail.address} ({detail.what})"
        case LateBounceEvent():
            return f"bounced later for {detail.address}: message {detail.bounce}"
        case SparedEvent():
            return f"no second copy for {detail.address}"
        case DeletedEvent():
            return f"the delivery to {detail.address} was deleted"
        case OtherEvent():
            return detail.kind
        case _:
            assert_never(detail)


def _details(detail: TraceDetail) -> Iterator[str]:
    """Yield further details of an event, one string for each detail. The string is empty for a detail that the event
    does not have.
    """
    match detail:
        case AcceptedEvent():
            yield detail.tls and f"TLS: {detail.tls}"
            yield detail.unchecked and f"sender not checked: {detail.unchecked}"
            yield detail.routes and f"routes as of {detail.routes}"
            yield detail.faults and f"INJECTED FAULT: {detail.faults}"
            if forged := detail.forged_authentication_results:
                yield f"{forged} forged Authentication-Results fields"
        case QueuedEvent():
            yield detail.because
            yield detail.route and f"the route is for {detail.route}"
            yield detail.inbox and f"the inbox {detail.inbox}"
        case DeliveredEvent() | DeferredEvent():
            yield detail.because
            yield from _answer(detail.attempt, detail.because)
            yield from _circumstances(detail.attempt)
        case DeadEvent():
            yield detail.because
            yield from _answer(detail.attempt, detail.because)
            yield detail.path and f"path: {detail.path}"
            yield detail.status and f"status {detail.status}"
            yield from _circumstances(detail.attempt)
        case MovedEvent() | RedrivenEvent() | DelayedEvent() | NotNotifiedEvent() | SparedEvent() | DeletedEvent():
            yield detail.because
        case LateBounceEvent():
            yield detail.reply and f"the receiving system reported: {detail.reply}"
            yield detail.status and f"status {detail.status}"
            yield detail.action and f"action {detail.action}"
        case OtherEvent():
            yield from (f"{name} {value}" for name, value in detail.members.items())
        case CheckedEvent() | NotifiedEvent():
            pass  # the first line has all of the details
        case _:
            assert_never(detail)


def _answer(attempt: Attempt | None, because: str) -> Iterator[str]:
    """Yield the peer's reply and the local error of an attempt, unless `because` already contains them."""
    if attempt and attempt.reply and attempt.reply not in because:
        in_a_maildir = attempt.destination.startswith("maildir:")  # a Maildir has no peer, and therefore no stage
        at = "" if in_a_maildir else f" at {attempt.stage}"
        yield f"{attempt.peer}{at}: {attempt.reply}"
    if attempt and attempt.trouble and attempt.trouble not in because:
        yield attempt.trouble


def _circumstances(attempt: Attempt | None) -> Iterator[str]:
    if attempt:
        yield attempt.tls and f"TLS: {attempt.tls}"
        yield attempt.fault and f"INJECTED FAULT: {attempt.fault}"


def refusal(found: schema.Refusal) -> Iterator[str]:
    """Yield the lines that describe a refusal."""
    yield f"Refused {found['at']}, for <{plain(found['to'])}>"
    yield f"  from       <{plain(found['from'])}>, by {plain(found['peer'])} ({plain(found['helo'])})"
    yield f"  reply      {plain(found['reply'])}"
    for name, value in found.items():
        if name not in {"at", "from", "to", "peer", "helo", "stage", "reply"}:
            yield f"  {name:9}  {plain(value)}"


def _where(delivery: schema.DeliveryOfMessage) -> str:
    """Return a note that names a delivery's alias and destination; an empty string for a direct delivery to the
    inbox.
    """
    notes = [
        f"through {delivery['via']}" if delivery["via"] else "",
        f"by {delivery['destination']}" if delivery["destination"] else "",
        "and in the inbox" if delivery["destination"] and delivery["in_inbox"] else "",
    ]
    note = ", ".join(filter(None, notes))
    return f"  ({plain(note)})" if note else ""
