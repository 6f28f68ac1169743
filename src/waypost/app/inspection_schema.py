"""The schema of the inspection API: the members of each response, with their types and meanings.

The server builds the responses; the commands and the console read them. `docs/reference/inspection-api.md` is generated
from this schema, and includes each member's note. The events of a trace are defined in `domain.mail.trace_events`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

TraceLine = dict[str, Any]
"""One event of a trace: its time `at`, its kind `event`, and the members that this kind of event has
(`trace_events.members`).
"""

Sender = Annotated[str, "the envelope sender; empty for the null sender"]
SentTo = Annotated[str, "the recipient as the sender wrote it: the email address, or its alias"]
Subject = Annotated[str, "the decoded subject, at most 998 characters. [How subjects are decoded](../quirks.md)"]
Size = Annotated[int, "the size of the message in bytes, as sent after DATA, without Waypost's trace header"]
ReceivedAt = Annotated[str, "when the message was accepted"]
Reason = Annotated[
    str,
    "`direct`; `forwarded`; `notice`: about mail that failed, is late, has arrived, or is in a mail loop; `returned`: "
    "a "
    "bounce of a forwarded copy",
]
Via = Annotated[
    str | None, "the alias through which the message was forwarded; null if the email address was addressed directly"
]
Status = Annotated[str, "`delivered`: the delivery reached the inbox or its route's destination; `queued`; `dead`"]
DeliveryId = Annotated[str, "the id of the delivery: the message's id, a dot, and the email address's id"]
MessageId = Annotated[str, "the id of the message, the same as in the `250` reply"]
DestinationOfRoute = Annotated[str, "the destination of the route, with `?…` in place of a webhook's query"]


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
    """A delivery as it appears in a list of deliveries."""

    address: Annotated[str, "the email address that the delivery is for"]
    delivery: DeliveryId
    to: SentTo
    reason: Reason
    via: Via
    status: Status


class Messages(TypedDict):
    """Deliveries."""

    messages: Annotated[list[DeliveryInList], "the newest first"]


class DeliveryOfMessage(TypedDict):
    """A delivery as it appears in the response about its message."""

    id: DeliveryId
    address: Annotated[str, "the email address that the delivery is for"]
    email_address_id: Annotated[str, "the id of the email address"]
    to: SentTo
    reason: Reason
    via: Via
    status: Status
    destination: Annotated[
        str | None,
        "the destination of the route, with `?…` in place of a webhook's query; null if only the inbox keeps the mail",
    ]
    in_inbox: Annotated[bool, "whether a copy is in the inbox"]


class MessageWithTrace(_OfMessage):
    """A message."""

    message_id: Annotated[
        str | None, "the Message-ID field, without its angle brackets; null if the message has no Message-ID"
    ]
    peer: Annotated[str, "the IP address of the client that sent the message"]
    helo: Annotated[str, "the name that the client gave in EHLO, HELO or LHLO"]
    protocol: Annotated[str, "the protocol by which the message arrived, such as `ESMTPS`"]
    tls: Annotated[str | None, "the TLS version and cipher; null without TLS"]
    authentication_results: Annotated[
        list[str],
        "the `Authentication-Results` fields that other servers wrote into the message; forged fields are left out. "
        "Waypost's own results are in the `checked` event of the trace",
    ]
    deliveries: Annotated[list[DeliveryOfMessage], "the deliveries of the message to the account"]
    trace: Annotated[list[TraceLine], "the events, in chronological order"]


_OfRefusal = TypedDict(
    "_OfRefusal", {"at": Annotated[str, "when the server refused the recipient or message"], "from": Sender}
)


class RefusalDetail(TypedDict, total=False):
    """Details of a refusal that are present only if the refusal has a certain reason, such as a mail loop."""

    path: Annotated[str, "for a mail loop: the servers that the message has passed through"]
    unchecked: Annotated[str, "why the sender could not be checked"]
    verdicts: Annotated[str, "the SPF, DKIM and DMARC results that caused the refusal"]
    fault: Annotated[
        str,
        "for an injected fault: the id of the fault rule, `tempfail+` or `bounce+`; for mail that the server refuses "
        "for another reason: the ids of the rules that delayed it or cut it off, separated by commas",
    ]


class Refusal(_OfRefusal, RefusalDetail):
    """A refusal."""

    to: Annotated[str, "the recipient as the client wrote it; empty if the recipient is unknown"]
    peer: Annotated[str, "the IP address of the client"]
    helo: Annotated[str, "the name that the client gave in EHLO, HELO or LHLO"]
    stage: Annotated[str, "`mail`, `rcpt` or `message`: what was refused"]
    reply: Annotated[str, "the reply that the client got"]


class Refusals(TypedDict):
    """Refusals."""

    refusals: Annotated[list[Refusal], "the newest first"]
    next: Annotated[str | None, "the value of `after` for the next page; null after the last page"]


class Traced(TypedDict):
    """Traces."""

    messages: Annotated[list[MessageWithTrace], "the newest first"]
    refusals: Annotated[list[Refusal], "the newest first"]


class Results(TypedDict):
    """Results of a search."""

    messages: Annotated[
        list[DeliveryInList], "the messages that match, the newest first, each with one delivery that matches"
    ]
    refusals: Annotated[list[Refusal], "the refusals that match, the newest first; empty without `is:refused`"]
    next: Annotated[str | None, "the value of `after` for the next page; null after the last page"]
    indexed_until: Annotated[
        str | None,
        "if the text index does not have all mail yet: the time up to which it has the mail; otherwise null",
    ]


class ExplainedRoute(TypedDict):
    """An explained route."""

    match: Annotated[str, "the addresses that the route is for, as in the setting of the route"]
    to: Annotated[str, "the destination of the route, with `?…` in place of a webhook's query"]
    number: Annotated[
        int | None, "the number of the route, as in `waypost routes list`; null for a route from the settings file"
    ]
    fault: Annotated[str | None, "the fault that the route injects; null if there is none"]


class ExplainedSender(TypedDict):
    """An explained sender."""

    rewritten_to: Annotated[str | None, "the domain of the rewritten sender; null if the sender is not rewritten"]
    because: Annotated[str, "the reason, as a sentence"]


class Expectation(TypedDict):
    """An expected result."""

    outcome: Annotated[str, "`pass`, `fail`, `none` (there is nothing to check) or `unknown`"]
    because: Annotated[str, "the reason, as a sentence"]


class Expectations(TypedDict):
    """The expected results."""

    spf: Annotated[Expectation, "the SPF result that the next mail server is expected to find"]
    dkim: Annotated[Expectation, "the DKIM result that the next mail server is expected to find"]
    dmarc: Annotated[Expectation, "the DMARC result that the next mail server is expected to find"]


class ExplainedDelivery(TypedDict):
    """An explained delivery."""

    address: Annotated[str, "the email address that the delivery would be for"]
    email_address_id: Annotated[str, "the id of the email address"]
    reason: Annotated[str, "`direct` or `forwarded`"]
    via: Via
    in_inbox: Annotated[bool, "whether a copy would be in the inbox"]
    route: Annotated[
        ExplainedRoute | None, "the matching route; null if no route matches, so that the inbox keeps the mail"
    ]
    destination: Annotated[
        str | None, "the destination for which the delivery would wait; null if only the inbox keeps the mail"
    ]
    sender: Annotated[ExplainedSender | None, "the sender that the next server sees; null if nothing is sent"]
    expected: Annotated[
        Expectations | None,
        "the results that the next mail server is expected to find; null if nothing is sent by SMTP",
    ]


class LoopCheck(TypedDict):
    """The result of the mail loop check."""

    is_loop: Annotated[bool, "whether the message would be refused as a mail loop"]
    received_lines: Annotated[int, "the number of `Received` fields in the message"]
    most_received_lines: Annotated[int, "the maximum number of `Received` fields with which a message is accepted"]
    because: Annotated[str | None, "why the message is in a loop; null if it is not"]


class Explanation(TypedDict):
    """An explanation."""

    address: Annotated[str, "the address in the request"]
    accepted: Annotated[bool, "whether the mail would be accepted"]
    deliveries: Annotated[list[ExplainedDelivery], "the deliveries that would be made"]
    because: Annotated[list[str], "the reasons, as sentences"]
    loop: Annotated[LoopCheck | None, "the result of the loop check; null if the request contained no message"]


_OfDelivery = TypedDict(
    "_OfDelivery",
    {
        "id": DeliveryId,
        "message": MessageId,
        "from": Sender,
        "subject": Subject,
        "address": Annotated[str, "the email address that the delivery is for"],
        "to": SentTo,
        "destination": DestinationOfRoute,
    },
)


class QueueLine(_OfDelivery):
    """A delivery as it appears in a list of queued deliveries."""

    queued_at: Annotated[str, "when the delivery was accepted or redriven"]
    due_at: Annotated[str, "when the delivery is attempted next; during an attempt, when the lease of the attempt ends"]
    attempts: Annotated[int, "the number of attempts so far"]
    is_attempted_now: Annotated[bool, "whether the delivery is being attempted"]
    because: Annotated[str | None, "why the last attempt failed; null before the first attempt"]


class WaitingDestination(TypedDict):
    """A destination."""

    destination: DestinationOfRoute
    due_at: Annotated[str, "when the first waiting delivery is due, or when its lease ends"]
    waiting: Annotated[
        int, "the number of the account's deliveries that wait for the destination; counting stops at 10,000"
    ]


class Queue(TypedDict):
    """The queue."""

    deliveries: Annotated[list[QueueLine], "sorted by id"]
    destinations: Annotated[
        list[WaitingDestination], "the destinations for which deliveries of the account wait, at most 100"
    ]
    is_held: Annotated[bool, "whether the server attempts no deliveries, because it was started with --hold-queue yes"]


class DeadLetter(_OfDelivery):
    """A dead letter."""

    received_at: ReceivedAt
    delivery: DeliveryId
    size: Size
    reason: Reason
    via: Via
    status: Annotated[str, "`dead`"]
    given_up_at: Annotated[str | None, "when the delivery was given up; null if the time is unknown"]
    because: Annotated[str | None, "why the delivery was given up; null if the reason is unknown"]


class DeadLetters(TypedDict):
    """Dead letters."""

    dead_letters: Annotated[list[DeadLetter], "sorted by id"]


class Redriven(TypedDict):
    """Redriven dead letters."""

    redriven: Annotated[int, "the number of dead letters that were put into the queue again"]


class Removed(TypedDict):
    """Removed dead letters."""

    removed: Annotated[int, "the number of dead letters that were removed, or would be removed with `dry_run`"]


class Replayed(TypedDict):
    """Replayed mail."""

    forwarded: Annotated[int, "the number of messages that were forwarded again"]


class Clock(TypedDict):
    """The clock."""

    now: Annotated[str, "the current time"]
    is_virtual: Annotated[bool, "whether the clock can be advanced"]


class Advanced(TypedDict):
    """The time on the server's clock after the clock was advanced."""

    now: Annotated[str, "the time after the advance"]


class WasReset(TypedDict):
    """What a reset leaves."""

    instance: Annotated[str, "the id of the owner's instance, which has no email addresses"]


class ListedRoute(TypedDict):
    """A route."""

    number: Annotated[
        int | None, "the number of the route, as in `waypost routes list`; null for a route from the settings file"
    ]
    log_name: Annotated[str, "the name of the route in the log"]
    match: Annotated[str, "the mail that the route is for"]
    to: DestinationOfRoute
    keep: Annotated[bool, "whether the inbox keeps a copy"]
    tls: Annotated[str, "`none`, `opportunistic`, `require` or `verify`"]
    user: Annotated[str, "the user name for SMTP AUTH; empty if there is none"]
    has_secret: Annotated[bool, "whether the route has a password or a key, which is not shown"]
    rewrite_sender: Annotated[bool, "whether the sender is rewritten with SRS"]
    allow_private: Annotated[bool, "whether a webhook, or a mail server found by mx:, may be on a private network"]
    connections: Annotated[int, "the maximum number of simultaneous connections to the destination"]
    line_ends: Annotated[str, "the line endings in a Maildir: `lf` or `as received`"]
    fault: Annotated[str | None, "the fault that the route injects; null if there is none"]


class Routes(TypedDict):
    """Routes."""

    routes: Annotated[list[ListedRoute], "in the order in which they are matched"]


class HeaderField(TypedDict):
    """A header field."""

    name: Annotated[str, "the name, as in the message"]
    value: Annotated[str, "the decoded value"]


class MessagePart(TypedDict):
    """A part of a message."""

    number: Annotated[int, "the position among all parts; the message itself is part 1"]
    content_type: Annotated[str, "the media type in lower case, without parameters"]
    charset: Annotated[str | None, "the charset that Content-Type names; null if it names none"]
    filename: Annotated[str | None, "a file name that is safe to show and to save under; null if there is none"]
    content_id: Annotated[str | None, "the Content-ID without angle brackets, to which `cid:` URLs refer"]
    disposition: Annotated[str | None, "usually `inline` or `attachment`"]
    size: Annotated[int, "the number of decoded bytes"]
    depth: Annotated[int, "how many parts this part is inside of; 0 for the message itself"]
    is_attachment: Annotated[bool, "whether a mail program lists the part as a file"]


class MessageParts(TypedDict):
    """The parts of a message."""

    headers: Annotated[list[HeaderField], "the header fields, in order"]
    parts: Annotated[list[MessagePart], "the parts, in order"]
    html_part: Annotated[int | None, "the number of the HTML part to show; null if there is none"]
    problems: Annotated[list[str], "a sentence for each thing that is wrong with the message"]


class HtmlLink(TypedDict):
    """A link in HTML."""

    text: Annotated[str, "the text that a reader sees"]
    target: Annotated[str, "the address that the link leads to"]
    is_misleading: Annotated[bool, "whether the text looks like another address than the target"]


class MessageHtml(TypedDict):
    """The HTML of a message."""

    html: Annotated[str, "the HTML, without scripts and other active content"]
    part: Annotated[int, "the number of the part"]
    remote: Annotated[int, "the number of references to remote pictures and styles in the original"]
    links: Annotated[list[HtmlLink], "the links"]
    problems: Annotated[list[str], "a sentence for each thing that was left out"]


class Deleted(TypedDict):
    """Deleted mail."""

    deleted: Annotated[int, "the number of deliveries that were deleted"]


class Counted(TypedDict):
    """The counts of a minute or hour."""

    start: Annotated[str, "when the minute or hour begins"]
    accepted: Annotated[int, "accepted messages with a delivery to the account"]
    delivered: Annotated[int, "deliveries that reached the inbox or the destination of a route"]
    deferred: Annotated[int, "attempts that failed and are made again"]
    refused: Annotated[int, "refusals"]
    dead: Annotated[int, "deliveries that were given up"]


class Way(TypedDict):
    """The way of deliveries."""

    address: Annotated[str, "the email address that the deliveries were for"]
    alias: Annotated[str | None, "the alias that forwarded them; null if the address was addressed directly"]
    destination: Annotated[str | None, "the destination of the route; null for the inbox"]
    count: Annotated[int, "the number of deliveries in about the last day"]


class Counts(TypedDict):
    """Counts of mail."""

    minutes: Annotated[list[Counted], "the minutes of the last hour, in order; the last is the current minute"]
    hours: Annotated[list[Counted], "the hours of the last day, in order; the last is the current hour"]
    ways: Annotated[list[Way], "the ways that most deliveries took, at most 500"]


class Fault(TypedDict):
    """A fault rule."""

    id: Annotated[str, "the id of the rule in the trace: `settings-N` for a rule of the settings file, or `fault-N`"]
    stage: Annotated[str, "`connect`, `mail`, `rcpt`, `data` or `message`"]
    action: Annotated[str, "`refuse`, `defer`, `delay`, `drop` or `cut`"]
    sender: Annotated[str, "the senders to which the rule applies; `*` for all"]
    recipient: Annotated[str, "the recipients to which the rule applies; `*` for all"]
    source: Annotated[str | None, "the network of the clients to which the rule applies; null for all"]
    larger_than: Annotated[int | None, "the rule applies only to messages with more bytes; null for all"]
    probability: Annotated[float, "the probability that the rule applies"]
    times: Annotated[int | None, "how often the rule may apply; null for no limit"]
    delay: Annotated[str | None, "the delay, such as `5s`; null for other actions"]
    reply: Annotated[str | None, "the reply of the rule; null for the usual reply"]
    applied: Annotated[int, "how often the rule has applied"]


class Faults(TypedDict):
    """Fault rules."""

    faults: Annotated[list[Fault], "in the order in which they are tried"]


class FaultAdded(TypedDict):
    """An added fault rule."""

    id: Annotated[str, "the id of the rule"]


class FaultsRemoved(TypedDict):
    """Removed fault rules."""

    removed: Annotated[int, "the number of rules that were removed"]


class Finding(TypedDict):
    """A finding of a check."""

    check: Annotated[str, "the subject of the check, such as `ports`"]
    level: Annotated[str, "`ok`, `warning` or `problem`"]
    text: Annotated[str, "the finding, with a remedy if there is a problem"]


class Diagnosis(TypedDict):
    """Results of checks."""

    is_healthy: Annotated[bool, "whether no finding is a problem"]
    checked_at: Annotated[str, "when the checks ended"]
    findings: Annotated[list[Finding], "in the order of the checks"]


CheckServer = Callable[[], Awaitable[Diagnosis]]
"""Checks the server, or returns the results of checks that have just ended. Raises `errors.Conflict`."""


class Error(TypedDict):
    """An error."""

    error: Annotated[str, "the reason, as a sentence"]


ANSWERS: dict[str, type] = {
    "GET /health": Health,
    "GET /ready": Ready,
    "GET /doctor": Diagnosis,
    "GET /instance": OldestInstance,
    "GET /messages": Messages,
    "GET /messages/ID": MessageWithTrace,
    "GET /messages/ID/parts": MessageParts,
    "GET /messages/ID/html": MessageHtml,
    "DELETE /messages/ID": Deleted,
    "POST /messages/delete": Deleted,
    "GET /counts": Counts,
    "GET /refusals": Refusals,
    "GET /search": Results,
    "GET /trace": Traced,
    "GET /explain": Explanation,
    "POST /explain": Explanation,
    "GET /queue": Queue,
    "GET /dead-letters": DeadLetters,
    "POST /dead-letters/redrive": Redriven,
    "POST /dead-letters/remove": Removed,
    "POST /replay": Replayed,
    "GET /clock": Clock,
    "POST /clock/advance": Advanced,
    "GET /faults": Faults,
    "POST /faults": FaultAdded,
    "DELETE /faults": FaultsRemoved,
    "DELETE /faults/ID": FaultsRemoved,
    "POST /reset": WasReset,
    "GET /routes": Routes,
    "POST /routes": ListedRoute,
    "DELETE /routes/N": ListedRoute,
}
"""The schema of the JSON response to each successful request."""
