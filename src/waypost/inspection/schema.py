"""What the pages of the inspection API tell, as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from waypost.app import ports
from waypost.app.mail import trace
from waypost.app.mail.explain import Course, Explanation
from waypost.domain import moments
from waypost.domain.mail.delivery import Delivery, Event
from waypost.domain.mail.messages import MAX_RECEIVED_LINES, Message
from waypost.domain.mail.routes import shown, without_secrets
from waypost.domain.mailauth.forecasts import Expectation, Forecast


def delivery(of: Delivery, message: Message) -> dict[str, Any]:
    """A delivery in a list, with what it says of its message."""
    return {
        "id": message.id,
        "received_at": moments.iso8601(message.received_at),
        "from": message.envelope.sender,
        "address": of.address.text,
        "delivery": of.id,
        "to": of.sent_to,
        "subject": message.subject,
        "size": message.size,
        "reason": of.reason.value,
        "via": of.via,
        "status": of.status.value,
    }


def details(found: trace.MessageDetails) -> dict[str, Any]:
    """A message with all that happened to it."""
    message = found.message
    return {
        "id": message.id,
        "received_at": moments.iso8601(message.received_at),
        "from": message.envelope.sender,
        "subject": message.subject,
        "message_id": message.header_id or None,
        "size": message.size,
        "peer": message.envelope.peer,
        "helo": message.envelope.helo,
        "protocol": message.envelope.protocol,
        "tls": message.envelope.tls or None,
        "authentication_results": list(found.authentication_results),
        "deliveries": [
            {
                "id": one.id,
                "address": one.address.text,
                "email_address_id": one.email_address_id,
                "to": one.sent_to,
                "reason": one.reason.value,
                "via": one.via,
                "status": one.status.value,
                "destination": shown(one.destination) or None,
                "in_inbox": one.kept,
            }
            for one in found.deliveries
        ],
        "trace": [{"at": moments.iso8601(event.at), "event": event.kind, **_detail(event)} for event in found.events],
    }


_BY_OTHERS = frozenset({"because", "reply", "peer"})
"""What a line of the trace may have in the words of a peer or a library, which may repeat the URL of a webhook."""


def _detail(event: ports.TraceEvent) -> Mapping[str, Any]:
    """What a line of the trace says. It is kept with the destination whole, and told without the secrets of a URL.

    Only what others have worded is searched for parts of the URL: an address or a word of ours may be the same as one.
    """
    to = event.detail.get("destination")
    if not isinstance(to, str):
        return event.detail
    by_others = _BY_OTHERS if event.kind != Event.QUEUED else frozenset()  # why it was queued is in our words
    told = {
        name: without_secrets(value, to) if name in by_others and isinstance(value, str) else value
        for name, value in event.detail.items()
    }
    return told | {"destination": shown(to)}


def refusal(of: ports.Refusal) -> dict[str, Any]:
    """Mail that was refused."""
    return {
        "at": moments.iso8601(of.at),
        "from": of.sender,
        "to": of.recipient,
        "peer": of.peer,
        "helo": of.helo,
        "stage": of.stage,
        "reply": of.reply,
        **of.detail,
    }


def queue_line(line: ports.QueueLine, message: Message | None) -> dict[str, Any]:
    """A delivery that waits. While it is being attempted, `due_at` is when that has to be over."""
    of = line.delivery
    return {
        "id": of.id,
        "message": of.message_id,
        "from": message.envelope.sender if message else "",
        "subject": message.subject if message else "",
        "address": of.address.text,
        "to": of.sent_to,
        "destination": shown(of.destination),
        "queued_at": moments.iso8601(line.queued_at),
        "due_at": moments.iso8601(line.due_at),
        "attempts": line.attempts,
        "is_attempted_now": line.is_claimed,
        "because": without_secrets(line.because, of.destination) or None,
    }


def destination(of: ports.Waiting, waiting: int) -> dict[str, Any]:
    """A destination for which deliveries wait, and how many do."""
    return {"destination": shown(of.destination), "due_at": moments.iso8601(of.due_at), "waiting": waiting}


def dead_letter(of: Delivery, message: Message, events: Iterable[ports.TraceEvent]) -> dict[str, Any]:
    """A delivery that was given up, and why."""
    last: Mapping[str, Any] = {}
    given_up_at = None
    for event in events:
        if event.kind == Event.DEAD and event.detail.get("address") == of.address.text:
            last, given_up_at = _detail(event), moments.iso8601(event.at)
    return delivery(of, message) | {
        "id": of.id,
        "message": message.id,
        "destination": shown(of.destination),
        "given_up_at": given_up_at,
        "because": last.get("because"),
    }


def explanation(found: Explanation) -> dict[str, Any]:
    """What would happen to mail, and why."""
    loop = None
    if found.received_lines is not None:
        loop = {
            "is_loop": bool(found.loop),
            "received_lines": found.received_lines,
            "most_received_lines": MAX_RECEIVED_LINES,
            "because": found.loop or None,
        }
    return {
        "address": found.address.text,
        "accepted": found.is_accepted,
        "deliveries": [_course(course) for course in found.courses],
        "because": found.because,
        "loop": loop,
    }


def _course(course: Course) -> dict[str, Any]:
    to = course.destination
    route = to.route
    return {
        "address": to.email_address.address.text,
        "email_address_id": to.email_address.id,
        "reason": to.reason.value,
        "via": to.alias.address.text if to.alias else None,
        "in_inbox": route.keep,
        "route": {
            "match": route.match,
            "to": shown(route.to),
            "number": course.route_number,
            "fault": route.fault.value if route.fault else None,
        }
        if course.is_routed
        else None,
        "destination": shown(course.leads_to) or None,
        "sender": {"rewritten_to": course.rewriting.domain or None, "because": course.rewriting.because}
        if course.rewriting
        else None,
        "expected": _forecast(course.forecast) if course.forecast else None,
    }


def _forecast(forecast: Forecast) -> dict[str, Any]:
    checks: dict[str, Expectation] = {"spf": forecast.spf, "dkim": forecast.dkim, "dmarc": forecast.dmarc}
    return {name: {"outcome": one.outcome.value, "because": one.because} for name, one in checks.items()}
