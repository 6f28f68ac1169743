"""Deliveries: their reasons, their statuses, and the meaning of attempt results.

A delivery is one message for one email address. Only `decide` interprets a peer's reply code. `decide` treats an
unknown result as a temporary failure, so the server keeps the mail and tries again.
"""

import hashlib
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from msgspec import Struct

from waypost.domain import durations
from waypost.domain.directory import addresses


class Reason(StrEnum):
    """The reason for a delivery."""

    DIRECT = "direct"
    """The sender addressed the message to the email address itself."""
    FORWARDED = "forwarded"
    """The sender addressed the message to an alias of the email address."""
    NOTICE = "notice"
    """The message is a notice that this server wrote to a sender or to the owner of the email address."""
    RETURNED = "returned"
    """The message is a bounce of a copy that this server sent to another server."""


class Status(StrEnum):
    """The status of a delivery.

    A delivery to the built-in inbox needs no attempt: the transaction that accepts the message also completes the
    delivery.
    """

    QUEUED = "queued"
    """The delivery waits for its next attempt, or an attempt is in progress."""
    DELIVERED = "delivered"
    """The delivery is complete. If the delivery used a route, the peer has accepted the message."""
    DEAD = "dead"
    """The server makes no more attempts, and keeps the whole message as a dead letter, which can be redriven."""


class Event(StrEnum):
    """An event that changes a delivery. The trace uses the same names for these events."""

    QUEUED = "queued"
    """The delivery waits for its first attempt over a route."""
    DELIVERED = "delivered"
    """A copy is in the inbox, or the delivery over the route succeeded."""
    MOVED = "moved"
    """The route has changed, so the next attempt will go to a new destination."""
    DEFERRED = "deferred"
    """An attempt failed, and the server will try again."""
    DEAD = "dead"
    """The server makes no more attempts, so the delivery is a dead letter."""
    REDRIVEN = "redriven"
    """An operator, or a caller of the API, redrove the delivery."""


STATES: dict[tuple[Status | None, Event], Status] = {
    (None, Event.DELIVERED): Status.DELIVERED,
    (None, Event.QUEUED): Status.QUEUED,
    (None, Event.REDRIVEN): Status.QUEUED,
    (Status.QUEUED, Event.DELIVERED): Status.DELIVERED,
    (Status.QUEUED, Event.MOVED): Status.QUEUED,
    (Status.QUEUED, Event.DEFERRED): Status.QUEUED,
    (Status.QUEUED, Event.DEAD): Status.DEAD,
    (Status.DEAD, Event.REDRIVEN): Status.QUEUED,
    (Status.DELIVERED, Event.REDRIVEN): Status.QUEUED,
}
"""The transition table for deliveries: the new status for each possible combination of a status and an event.

The status None means that the delivery does not exist yet. The diagram in `docs/mail-flow.md` is generated from this
table.
"""


def after(status: Status, event: Event) -> Status:
    """Return the status of a delivery after an event.

    Raises `KeyError` if the event cannot happen to a delivery with this status.
    """
    return STATES[status, event]


class Delivery(Struct, frozen=True, kw_only=True):
    """One delivery. The delivered copy is `trace_header`, followed by the unchanged raw bytes of the message."""

    message_id: str
    email_address_id: str
    account: str
    address: addresses.Address
    reason: Reason
    sent_to: str
    """The recipient as the sender wrote it: the email address, or the alias that forwards to the email address."""
    via: str | None
    """The alias that forwarded the message; None if the sender addressed the email address directly."""
    status: Status
    trace_header: bytes
    kept: bool = True
    """Whether the copy is in the inbox of the email address."""
    destination: str = ""
    """The destination of the route, as `routes.destination` returns it; empty if the delivery is only to the inbox."""
    also_for: str = ""
    """The alias, as the sender wrote it, if the sender addressed both an alias and its primary; otherwise empty.

    Although the primary gets only one copy of such a message, the sender gets the same notices as for two copies.
    """

    @property
    def id(self) -> str:
        """The id of the delivery. The id is the same for each attempt, so that a receiver can recognize a duplicate."""
        return delivery_id(self.message_id, self.email_address_id)


def delivery_id(message_id: str, email_address_id: str) -> str:
    """Return the id of the delivery of a message to an email address."""
    return f"{message_id}.{email_address_id}"


def ids_in(delivery_id: str) -> tuple[str, str]:
    """Return the id of the message and the id of the email address in a `Delivery.id`.

    For the id of a message, the second is empty. For an empty id, both are empty, which sort before all ids.
    """
    message_id, _, email_address_id = delivery_id.partition(".")
    return message_id, email_address_id


class Stage(StrEnum):
    """The stage that an attempt reached."""

    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    HELLO = "hello"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """The transport sent DATA or BDAT, and the result is the first reply to that command."""
    BODY = "body"
    """The transport was sending the message, so the peer cannot have accepted it yet."""
    END = "end"
    """The transport sent the whole message, so the peer may have accepted it, even if its reply did not arrive."""
    STORED = "stored"
    """The message is stored durably in a file in the Maildir."""


class Protocol(StrEnum):
    """The protocol of a peer. The protocol determines what a reply code means."""

    SMTP = "smtp"
    LMTP = "lmtp"
    MAILDIR = "maildir"
    WEBHOOK = "webhook"


class Trouble(StrEnum):
    """The problem with an attempt that did not end with a reply from the peer."""

    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    GARBAGE = "garbage"
    """The peer sent something that is not a reply."""
    UNREACHABLE = "unreachable"
    NO_SUCH_HOST = "no such host"
    """The DNS reports that the host does not exist."""
    DNS_FAILED = "dns failed"
    """The DNS server does not respond, or responds with SERVFAIL."""
    NULL_MX = "null mx"
    """The domain declares that it does not accept mail (RFC 7505)."""
    NO_TLS = "no tls"
    """The peer does not offer TLS, which the route requires."""
    BAD_TLS = "bad tls"
    """The TLS handshake failed, or the certificate is not valid for the host."""
    NO_AUTH = "no auth"
    """The route has a user, but the peer offers no AUTH mechanism that Waypost supports."""
    NEEDS_UTF8 = "needs utf8"
    """An address or a header is not ASCII, and the peer does not support SMTPUTF8 (RFC 6531)."""
    NEEDS_BINARY = "needs binary"
    """The message is binary, but the peer does not support BINARYMIME (RFC 3030). Waypost never converts a message."""
    TOO_BIG = "too big"
    """The message is larger than the size limit in the peer's EHLO reply (RFC 1870)."""
    FORBIDDEN = "forbidden"
    """The host has a private address, which the route does not allow."""
    FAILED = "failed"
    """A failure of this server, unrelated to the message: a full disk, a missing directory or an internal error."""
    DAMAGED = "damaged"
    """The stored bytes of the message are damaged, so they are not sent. They can be sent when a backup is restored."""
    IS_OURSELVES = "is ourselves"
    """This server is the first of the mail servers that the DNS lists for the domain (RFC 5321 section 5.1)."""


class AttemptResult(Struct, frozen=True, kw_only=True):
    """The result of one attempt, as the transport observed it. Only `decide` interprets the result."""

    protocol: Protocol
    stage: Stage
    peer: str = ""
    """The peer: a mail server, as in `mx1.example.net [192.0.2.1]:25`, a directory, or the URL of a webhook."""
    code: int | None = None
    """The SMTP or LMTP reply code, or the HTTP status code, at this stage; None if the peer sent no reply."""
    enhanced: str = ""
    """The enhanced status code in the reply (RFC 3463), as in `5.1.1`."""
    trouble: Trouble | None = None
    """The problem, if the attempt did not end with a reply."""
    text: str = ""
    """The text of the peer's reply, or a description of the trouble, as one line."""
    tls: str = ""
    fault: str = ""
    """The fault that the route injected into the attempt; empty if no fault was injected."""
    notifies: bool = False
    """Whether the peer has taken responsibility for the success notice (DSN, RFC 3461)."""


class Then(StrEnum):
    """The next step for a delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


class Decision(Struct, frozen=True, kw_only=True):
    """The decision about a delivery after an attempt."""

    then: Then
    status: str
    """The enhanced status code for a notice (RFC 3463)."""
    because: str
    """The reason for the decision, as one line of text."""
    at: datetime | None = None
    """The time of the next attempt; None if the server makes no more attempts."""
    is_of_destination: bool = False
    """Whether the destination itself failed, in which case other messages for this destination would fail too."""
    is_loop: bool = False
    """Whether the message is in a mail loop."""


class Queued(Struct, frozen=True, kw_only=True):
    """The facts about a queued delivery that `decide` needs."""

    delivery_id: str
    attempts: int
    """The number of attempts before the current attempt."""
    queued_at: datetime
    """The time when the message was accepted or the delivery was redriven."""


class Policy(Struct, frozen=True, kw_only=True):
    """The rules for how long and how often the server attempts deliveries."""

    retry_schedule: tuple[timedelta, ...] = tuple(
        timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 120, 240)
    )
    """The pauses between attempts, beginning with the pause after the first attempt. The last pause repeats."""
    expire: timedelta = timedelta(days=5)
    """The time after which the server makes no more attempts (RFC 5321 section 4.5.4.1: "at least 4-5 days")."""
    jitter: float = 0.1
    """The fraction by which a pause may be extended, so that different messages that failed together are not retried
    together.
    """
    pause: timedelta = timedelta(minutes=1)
    """The longest time for which the server sends nothing to a destination after the destination itself has failed."""


_PERMANENT_TROUBLES = {
    Trouble.NULL_MX: "5.1.10",
    Trouble.NEEDS_UTF8: "5.6.7",
    Trouble.NEEDS_BINARY: "5.6.3",
    Trouble.TOO_BIG: "5.3.4",
}
"""The kinds of trouble that are permanent failures, with their enhanced status codes.

A nonexistent host is only a temporary failure, because the cause may be a mistake in the DNS or in a route.
"""

_TROUBLES_OF_DESTINATION = {
    Trouble.TIMEOUT,
    Trouble.DISCONNECTED,
    Trouble.GARBAGE,
    Trouble.UNREACHABLE,
    Trouble.NO_SUCH_HOST,
    Trouble.DNS_FAILED,
    Trouble.NO_TLS,
    Trouble.BAD_TLS,
    Trouble.NO_AUTH,
    Trouble.FORBIDDEN,
    Trouble.IS_OURSELVES,
}
"""The kinds of trouble that are caused by the destination itself, not by the message.

With SMTP and LMTP, this is assumed only at the stages before MAIL (`_BEFORE_THE_MESSAGE`).
"""

_BEFORE_THE_MESSAGE = {Stage.CONNECT, Stage.TLS, Stage.GREETING, Stage.HELLO, Stage.AUTH}
"""The stages before MAIL. A reply before MAIL concerns this server or the peer, but not the message or its recipient.
"""

_WEBHOOK_REFUSALS = {410, 413, 415, 422}
"""The HTTP status codes with which a webhook refuses a message permanently.

These status codes mean Gone, Content Too Large, Unsupported Media Type and Unprocessable Content. In contrast, the
codes 400, 401, 403 and 404 are temporary failures, because a misconfigured receiver is their usual cause.
"""

_LOOP = re.compile(r"[45]\.4\.6")


def decide(queued: Queued, result: AttemptResult, now: datetime, policy: Policy) -> Decision:
    """Decide the next step after an attempt: the delivery is complete, is retried later, or becomes a dead letter."""
    if is_delivered(result):
        return Decision(then=Then.DELIVERED, status="2.0.0", because=_words(result))
    refusal = _refusal(result)
    if refusal:
        return Decision(
            then=Then.GIVE_UP,
            status=refusal,
            because=_words(result),
            is_loop=_LOOP.fullmatch(result.enhanced) is not None,
        )
    is_of_destination = _is_of_destination(result)
    ends_at = queued.queued_at + policy.expire
    if now >= ends_at:
        return expired(policy, _words(result), is_of_destination=is_of_destination)
    return Decision(
        then=Then.RETRY,
        status=_temporary(result),
        because=_words(result),
        at=min(now + pause_after(queued, policy), ends_at),  # the last attempt is made exactly at the time limit
        is_of_destination=is_of_destination,
    )


def expired(policy: Policy, because: str, *, is_of_destination: bool = False) -> Decision:
    """Return the decision for a delivery that has reached the time limit for attempts: it becomes a dead letter.

    `because` is the reason why the last attempt failed.
    """
    return Decision(
        then=Then.GIVE_UP,
        status="5.4.7",
        because=f"Not delivered in {durations.written(policy.expire)}. Last result: {because}",
        is_of_destination=is_of_destination,
    )


def pause_after(queued: Queued, policy: Policy) -> timedelta:
    """Return the length of the pause after an attempt.

    The jitter depends only on the message and the number of attempts. So deliveries of one message that failed together
    are also retried together. One notice can then report all these deliveries, and the sender cannot tell from the
    times of the notices which deliveries exist.
    """
    schedule = policy.retry_schedule
    pause = schedule[min(queued.attempts, len(schedule) - 1)]
    message_id, _ = ids_in(queued.delivery_id)
    digest = hashlib.sha256(f"{message_id} {queued.attempts}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return timedelta(milliseconds=round(pause / timedelta(milliseconds=1) * (1 + policy.jitter * share)))


def latest_due(now: datetime, policy: Policy) -> datetime:
    """Return the latest possible time of the next attempt for a delivery that is deferred now.

    If a delivery's next attempt is due after this time, the delivery was deferred while the clock was ahead.
    """
    return now + max(policy.retry_schedule) * (1 + policy.jitter)


def is_delivered(result: AttemptResult) -> bool:
    """Return whether the peer has acknowledged the message."""
    if result.trouble is not None:
        return False
    if result.stage is Stage.STORED:
        return True
    return result.stage is Stage.END and result.code is not None and 200 <= result.code < 300


def _refusal(result: AttemptResult) -> str:
    """Return the enhanced status code of a permanent refusal; empty if the delivery should be retried."""
    if result.trouble is not None:
        return _PERMANENT_TROUBLES.get(result.trouble, "")
    match result.protocol:
        case (
            Protocol.SMTP | Protocol.LMTP | Protocol.MAILDIR
        ):  # a Maildir has reply codes only from an injected `Fault`
            return _refusal_by_reply(result)
        case Protocol.WEBHOOK:
            return "5.3.0" if result.code in _WEBHOOK_REFUSALS else ""
        case never:
            assert_never(never)


def _refusal_by_reply(result: AttemptResult) -> str:
    code = result.code or 0
    if not 500 <= code < 600 or result.stage in _BEFORE_THE_MESSAGE:
        return ""
    if result.stage is Stage.RCPT and code == 552 and not result.enhanced:
        return ""  # means "too many recipients" in servers older than RFC 2821 (RFC 5321 section 4.5.3.1.10)
    if result.stage is Stage.BODY or code in {502, 503, 530, 535, 538}:
        return ""  # not about the message: sent before its end, or about the order of commands or AUTH
    return result.enhanced if result.enhanced.startswith("5.") else _STATUS_BY_STAGE.get(result.stage, "5.0.0")


_STATUS_BY_STAGE = {Stage.MAIL: "5.1.0", Stage.RCPT: "5.1.1"}
"""For each stage, the enhanced status code to assume if the reply that refuses the mail does not contain such a code.
"""


def _temporary(result: AttemptResult) -> str:
    if result.enhanced.startswith("4."):
        return result.enhanced
    if result.trouble in {Trouble.NO_SUCH_HOST, Trouble.DNS_FAILED}:
        return "4.4.3"
    if result.trouble in {Trouble.TIMEOUT, Trouble.DISCONNECTED, Trouble.GARBAGE}:
        return "4.4.2"
    return "4.4.1" if result.trouble is Trouble.UNREACHABLE else "4.0.0"


def _is_of_destination(result: AttemptResult) -> bool:
    """Return whether the destination itself failed.

    After such a failure, the server pauses all attempts to reach the destination.
    """
    if result.fault or result.trouble is Trouble.DAMAGED:
        return False
    match result.protocol:
        case Protocol.SMTP | Protocol.LMTP:
            return _is_of_server(result)
        case Protocol.WEBHOOK:
            return result.trouble in _TROUBLES_OF_DESTINATION or result.code in {429, 502, 503, 504}
        case Protocol.MAILDIR:
            return result.trouble is not None
        case never:
            assert_never(never)


def _is_of_server(result: AttemptResult) -> bool:
    if result.code == 421:
        return True
    if result.stage not in _BEFORE_THE_MESSAGE:
        return False
    return result.code is not None or result.trouble in _TROUBLES_OF_DESTINATION


def _words(result: AttemptResult) -> str:
    """Describe the result of an attempt in one line: the peer, the stage, and the reply or the trouble."""
    reply = " ".join(str(part) for part in (result.code, result.enhanced, result.text) if part)
    what = f"{result.trouble}: {reply}" if result.trouble and reply else reply or str(result.trouble or result.stage)
    return f"{result.peer} at {result.stage}: {what}" if result.peer else f"at {result.stage}: {what}"


class Notify(StrEnum):
    """A value of the NOTIFY parameter: an event about which the sender requests a notice (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


def wants(notify: Collection[str], what: Notify) -> bool:
    """Return whether a NOTIFY parameter requests notices of an event.

    If the client did not give NOTIFY, the sender gets notices of failures and delays.
    """
    return what in notify if notify else what in {Notify.FAILURE, Notify.DELAY}
