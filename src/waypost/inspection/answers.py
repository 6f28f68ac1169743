"""Builds the responses of the inspection API from the results of use cases. `app.inspection_schema` defines their
types.
"""

from typing import cast

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.mail import explain, searching, trace
from waypost.domain import moments
from waypost.domain.mail import trace_events
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.messages import MAX_RECEIVED_LINES, Message
from waypost.domain.mail.routes import shown, without_secrets
from waypost.domain.mail.trace_events import TraceEvent
from waypost.domain.mail.trace_secrets import without_secrets_of_url
from waypost.domain.mailauth import forecasts


def delivery(of: Delivery, message: Message) -> schema.DeliveryInList:
    """Return the JSON object for a delivery in a list, with details of its message."""
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


def results(found: searching.Results) -> schema.Results:
    """Return the JSON object for a page of the results of a search."""
    return {
        "messages": [delivery(*each) for each in found.found],
        "refusals": [refusal(each) for each in found.refusals],
        "next": found.next,
        "indexed_until": None if found.indexed_until is None else moments.iso8601(found.indexed_until),
    }


def details(found: trace.MessageDetails) -> schema.MessageWithTrace:
    """Return the JSON object for a message with its deliveries and its trace."""
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
        "trace": [_line(event) for event in found.events],
    }


def _line(event: TraceEvent) -> schema.TraceLine:
    """Return the JSON object for a trace event, without the secrets in the URL of its destination."""
    members = trace_events.members(without_secrets_of_url(event.detail))
    return {"at": moments.iso8601(event.at), "event": event.kind, **members}


def refusal(of: ports.Refusal) -> schema.Refusal:
    """Return the JSON object for a refusal."""
    return {
        "at": moments.iso8601(of.at),
        "from": of.sender,
        "to": of.recipient,
        "peer": of.peer,
        "helo": of.helo,
        "stage": of.stage,
        "reply": of.reply,
        **cast("schema.RefusalDetail", of.detail),
    }


def queue_line(line: ports.QueueLine, message: Message | None) -> schema.QueueLine:
    """Return the JSON object for a waiting delivery. During an attempt, `due_at` is the time at which the delivery's
    lease ends.
    """
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


def destination(of: ports.Waiting, waiting: int) -> schema.WaitingDestination:
    """Return the JSON object for a destination and the number of deliveries that are waiting for it."""
    return {"destination": shown(of.destination), "due_at": moments.iso8601(of.due_at), "waiting": waiting}


def dead_letter(letter: ports.DeadLetter) -> schema.DeadLetter:
    """Return the JSON object for a dead letter, with the reason for the failure."""
    of = letter.delivery
    return {
        **delivery(of, letter.message),
        "id": of.id,
        "message": of.message_id,
        "destination": shown(of.destination),
        "given_up_at": moments.iso8601(letter.given_up_at) if letter.given_up_at else None,
        "because": without_secrets(letter.because, of.destination) or None,
    }


def explanation(found: explain.Explanation) -> schema.Explanation:
    """Return the JSON object for an explanation of what would happen to mail for an address."""
    loop: schema.LoopCheck | None = None
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


def _course(course: explain.Course) -> schema.ExplainedDelivery:
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
        "expected": _expectations(course.forecast) if course.forecast else None,
    }


def _expectations(forecast: forecasts.Forecast) -> schema.Expectations:
    return {
        "spf": _expectation(forecast.spf),
        "dkim": _expectation(forecast.dkim),
        "dmarc": _expectation(forecast.dmarc),
    }


def _expectation(of: forecasts.Expectation) -> schema.Expectation:
    return {"outcome": of.outcome.value, "because": of.because}
