"""The schema of the inspection API: what each answer has, member by member, with its type and what it means.

The server builds these, commands and the console read them, and `docs/reference/inspection-api.md` is made from them.
The note of each member is what the reference says. The events of a trace are in `domain.mail.trace_events`.
"""

from typing import Annotated, Any, TypedDict

TraceLine = dict[str, Any]
"""An event of a trace: `at`, `event`, and the members of that kind of event (`trace_events.members`)."""

Sender = Annotated[str, "the envelope sender; empty for the null sender"]
SentTo = Annotated[str, "the recipient as the sender wrote it: the email address, or its alias"]
Subject = Annotated[str, "decoded, for people; 998 characters at most. [How](../quirks.md)"]
Size = Annotated[int, "octets as sent after DATA, without our trace lines"]
ReceivedAt = Annotated[str, "when the message was accepted"]
Reason = Annotated[
    str,
    "`direct`; `forwarded`; `notice`, of mail that failed, is late, has arrived, or is in a mail loop; `returned`, a "
    "bounce for a copy that was sent on",
]
Via = Annotated[str | None, "the alias it came through; null if it was addressed directly"]
Status = Annotated[str, "`delivered`: it is where its route leads; `queued`; `dead`"]
DeliveryId = Annotated[str, "the id of the delivery: that of the message, a dot, and that of the email address"]
MessageId = Annotated[str, "the id of the message, the same as in the `250` reply"]
DestinationOfRoute = Annotated[str, "where the route leads, with `?…` for the query of a webhook"]


class Health(TypedDict):
    """Health."""

    status: Annotated[str, "`ok`"]
    version: Annotated[str, "the version of Waypost"]


class Ready(TypedDict):
    """Readiness."""

    status: Annotated[str, "`ready`"]


class OldestInstance(TypedDict):
    """The oldest instance."""

    id: Annotated[str | None, "the id of the instance; null if there is none"]


_OfMessage = TypedDict(
    "_OfMessage",
    {"id": MessageId, "received_at": ReceivedAt, "from": Sender, "subject": Subject, "size": Size},
)


class DeliveryInList(_OfMessage):
    """A delivery in a list."""

    address: Annotated[str, "the email address whose delivery it is"]
    delivery: DeliveryId
    to: SentTo
    reason: Reason
    via: Via
    status: Status


class Messages(TypedDict):
    """Deliveries."""

    messages: Annotated[list[DeliveryInList], "the newest first"]


class DeliveryOfMessage(TypedDict):
    """A delivery of a message."""

    id: DeliveryId
    address: Annotated[str, "the email address whose delivery it is"]
    email_address_id: Annotated[str, "the id of the email address"]
    to: SentTo
    reason: Reason
    via: Via
    status: Status
    destination: Annotated[
        str | None, "where the route leads, with `?…` for the query of a webhook; null for the inbox alone"
    ]
    in_inbox: Annotated[bool, "whether a copy is in the inbox"]


class MessageWithTrace(_OfMessage):
    """A message."""

    message_id: Annotated[str | None, "the Message-ID field, without its angle brackets; null if it has none"]
    peer: Annotated[str, "the IP address of the client that sent it"]
    helo: Annotated[str, "what the client said in EHLO, HELO or LHLO"]
    protocol: Annotated[str, "how it came, as in `ESMTPS`"]
    tls: Annotated[str | None, "the version and the cipher of TLS; null in clear"]
    authentication_results: Annotated[
        list[str],
        "the results that other servers wrote into the message, without forged fields with this server's name. "
        "What we found out is the `checked` event of the trace",
    ]
    deliveries: Annotated[list[DeliveryOfMessage], "those to the account"]
    trace: Annotated[list[TraceLine], "the events, in their order"]


_OfRefusal = TypedDict("_OfRefusal", {"at": Annotated[str, "when it was refused"], "from": Sender})


class RefusalDetail(TypedDict, total=False):
    """Further details of some refusals."""

    path: Annotated[str, "of a mail loop, the servers that the message has passed"]
    unchecked: Annotated[str, "why the sender could not be checked"]
    verdicts: Annotated[str, "the results of SPF, DKIM and DMARC because of which it was refused"]


class Refusal(_OfRefusal, RefusalDetail):
    """A refusal."""

    to: Annotated[str, "the recipient as the client wrote it; empty where nobody knows for whom the mail was"]
    peer: Annotated[str, "the IP address of the client"]
    helo: Annotated[str, "what the client said in EHLO, HELO or LHLO"]
    stage: Annotated[str, "`mail`, `rcpt` or `message`: what was refused"]
    reply: Annotated[str, "what the client was told"]


class Traced(TypedDict):
    """Traces."""

    messages: Annotated[list[MessageWithTrace], "the newest first"]
    refusals: Annotated[list[Refusal], "the newest first"]


class ExplainedRoute(TypedDict):
    """An explained route."""

    match: Annotated[str, "what the route is for"]
    to: Annotated[str, "where it leads, with `?…` for the query of a webhook"]
    number: Annotated[int | None, "as `waypost routes list` counts; null for a route of the settings file"]
    fault: Annotated[str | None, "the fault that it injects on purpose"]


class ExplainedSender(TypedDict):
    """An explained sender."""

    rewritten_to: Annotated[str | None, "the domain of the rewritten sender; null if it stays as it is"]
    because: Annotated[str, "why, in a sentence"]


class Expectation(TypedDict):
    """An expected result."""

    outcome: Annotated[str, "`pass`, `fail`, `none`: there is nothing to check, or `unknown`"]
    because: Annotated[str, "why, in a sentence"]


class Expectations(TypedDict):
    """The expected results."""

    spf: Annotated[Expectation, "what the next mail server finds by SPF"]
    dkim: Annotated[Expectation, "what it finds by DKIM"]
    dmarc: Annotated[Expectation, "what it finds by DMARC"]


class ExplainedDelivery(TypedDict):
    """An explained delivery."""

    address: Annotated[str, "the email address whose delivery it would be"]
    email_address_id: Annotated[str, "the id of the email address"]
    reason: Annotated[str, "`direct` or `forwarded`"]
    via: Via
    in_inbox: Annotated[bool, "whether a copy would be in the inbox"]
    route: Annotated[ExplainedRoute | None, "null where no route matches, so that it is in the inbox"]
    destination: Annotated[str | None, "where it would wait for its attempts; null for the inbox alone"]
    sender: Annotated[ExplainedSender | None, "the sender that the next server sees; null where nothing is sent on"]
    expected: Annotated[Expectations | None, "null where nothing is sent on by SMTP"]


class LoopCheck(TypedDict):
    """The check for a mail loop."""

    is_loop: Annotated[bool, "whether it would be refused for that"]
    received_lines: Annotated[int, "how many `Received` fields it has"]
    most_received_lines: Annotated[int, "with how many it is still accepted"]
    because: Annotated[str | None, "why it is a loop; null if it is none"]


class Explanation(TypedDict):
    """An explanation."""

    address: Annotated[str, "the address that was asked about"]
    accepted: Annotated[bool, "whether the mail would be accepted"]
    deliveries: Annotated[list[ExplainedDelivery], "those that the mail would make"]
    because: Annotated[list[str], "why, in sentences"]
    loop: Annotated[LoopCheck | None, "null where no message was given"]


_OfDelivery = TypedDict(
    "_OfDelivery",
    {
        "id": DeliveryId,
        "message": MessageId,
        "from": Sender,
        "subject": Subject,
        "address": Annotated[str, "the email address whose delivery it is"],
        "to": SentTo,
        "destination": DestinationOfRoute,
    },
)


class QueueLine(_OfDelivery):
    """A delivery in the queue."""

    queued_at: Annotated[str, "when it was accepted or redriven"]
    due_at: Annotated[str, "when it is tried next; while it is being attempted, by when that has to be over"]
    attempts: Annotated[int, "how many were made"]
    is_attempted_now: Annotated[bool, "whether it is being attempted"]
    because: Annotated[str | None, "why the last attempt failed; null before the first"]


class WaitingDestination(TypedDict):
    """A destination."""

    destination: DestinationOfRoute
    due_at: Annotated[str, "when the first of all that waits there is due, or when its lease ends"]
    waiting: Annotated[int, "how many deliveries of the account wait there, counted up to 10,000"]


class Queue(TypedDict):
    """The queue."""

    deliveries: Annotated[list[QueueLine], "in the order of their ids"]
    destinations: Annotated[list[WaitingDestination], "for which deliveries of the account wait, up to 100"]


class DeadLetter(_OfDelivery):
    """A dead letter."""

    received_at: ReceivedAt
    delivery: DeliveryId
    size: Size
    reason: Reason
    via: Via
    status: Annotated[str, "`dead`"]
    given_up_at: Annotated[str | None, "when it was given up; null where that is not known"]
    because: Annotated[str | None, "why it was given up; null where that is not known"]


class DeadLetters(TypedDict):
    """Dead letters."""

    dead_letters: Annotated[list[DeadLetter], "in the order of their ids"]


class Redriven(TypedDict):
    """What was redriven."""

    redriven: Annotated[int, "how many dead letters were put into the queue again"]


class Replayed(TypedDict):
    """What was replayed."""

    forwarded: Annotated[int, "how many messages were forwarded again"]


class Clock(TypedDict):
    """The clock."""

    now: Annotated[str, "the present moment"]
    is_virtual: Annotated[bool, "whether the clock can be moved on"]


class Advanced(TypedDict):
    """The clock after it was advanced."""

    now: Annotated[str, "the moment to which it was moved"]


class Error(TypedDict):
    """An error."""

    error: Annotated[str, "why, in a sentence"]


ANSWERS: dict[str, type] = {
    "GET /health": Health,
    "GET /ready": Ready,
    "GET /instance": OldestInstance,
    "GET /messages": Messages,
    "GET /messages/ID": MessageWithTrace,
    "GET /trace": Traced,
    "GET /explain": Explanation,
    "POST /explain": Explanation,
    "GET /queue": Queue,
    "GET /dead-letters": DeadLetters,
    "POST /dead-letters/redrive": Redriven,
    "POST /replay": Replayed,
    "GET /clock": Clock,
    "POST /clock/advance": Advanced,
}
"""The JSON response to each request that succeeds."""
