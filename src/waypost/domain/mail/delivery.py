"""A delivery is one message for one email address: why it exists, its status, and what the result of an attempt means.

`decide` is the only place that knows what the reply code of a peer means. An unknown result is temporary: the server
keeps the mail and retries.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from waypost.domain.directory import addresses


class Reason(StrEnum):
    """The reason for a delivery."""

    DIRECT = "direct"
    """The sender addressed it."""
    FORWARDED = "forwarded"
    """The sender addressed its alias."""
    NOTICE = "notice"
    """The server wrote the message itself: to a sender whose mail failed, or to the owner of the email address."""
    RETURNED = "returned"
    """A bounce for a copy that the server had sent on."""


class Status(StrEnum):
    """The status of a delivery. The built-in inbox is reached in the transaction that accepts the mail."""

    QUEUED = "queued"
    """It waits for its next attempt, or is being attempted."""
    DELIVERED = "delivered"
    """The route has been carried out."""
    DEAD = "dead"
    """The attempts have ended, and the message is kept whole: a dead letter, which can be redriven."""


class Event(StrEnum):
    """What can happen to a delivery; the trace has these words."""

    QUEUED = "queued"
    """It waits for its first attempt over a route."""
    DELIVERED = "delivered"
    """A copy is in the inbox, or the route has been carried out."""
    MOVED = "moved"
    """Its route has changed, so it waits for another destination."""
    DEFERRED = "deferred"
    """An attempt did not succeed; there will be another one."""
    DEAD = "dead"
    """The attempts have ended: it is a dead letter."""
    REDRIVEN = "redriven"
    """Somebody redrove it."""


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
"""Everything that can happen to a delivery, by its status; None is before it exists. The picture in `docs/mail-flow.md`
is drawn from it."""


def after(status: Status, event: Event) -> Status:
    """The status of a delivery after something happened to it."""
    return STATES[status, event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery. The copy that arrives is `trace_header` followed by the message's raw bytes, untouched."""

    message_id: str
    email_address_id: str
    account: str
    address: addresses.Address
    reason: Reason
    sent_to: str
    """The recipient as the sender wrote it: this address, or the alias that forwards here."""
    via: str | None
    """The alias that the message came through, or None if it was addressed directly."""
    status: Status
    trace_header: bytes
    kept: bool = True
    """Whether the copy is in the inbox of the email address."""
    destination: str = ""
    """The target of its route, as the route spells it; empty for the inbox alone."""
    also_for: str = ""
    """The alias that forwards here, as the sender wrote it, where this address was addressed too and so got one copy.

    Notices to the sender are the same as if the copy had been forwarded.
    """

    @property
    def id(self) -> str:
        """The same at each attempt, so that who gets it twice can know."""
        return delivery_id(self.message_id, self.email_address_id)


def delivery_id(message_id: str, email_address_id: str) -> str:
    """The id of the delivery of a message to an email address."""
    return f"{message_id}.{email_address_id}"


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
    """DATA was said, or BDAT: the first reply to it is what counts."""
    BODY = "body"
    """The octets of the message were on their way; the peer cannot have taken it."""
    END = "end"
    """All was sent, so that the peer may have taken it, whatever became of its reply."""
    STORED = "stored"
    """The message is in a file of the Maildir, durably."""


class Protocol(StrEnum):
    """The protocol with a peer; the meaning of a reply code depends on it."""

    SMTP = "smtp"
    LMTP = "lmtp"
    MAILDIR = "maildir"
    WEBHOOK = "webhook"


class Trouble(StrEnum):
    """What went wrong, where the peer gave no reply about it."""

    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    GARBAGE = "garbage"
    """The peer sent something that is not a reply."""
    UNREACHABLE = "unreachable"
    NO_SUCH_HOST = "no such host"
    """The DNS says that there is no such name."""
    DNS_FAILED = "dns failed"
    """The DNS does not answer, or answers SERVFAIL."""
    NULL_MX = "null mx"
    """The domain says that it takes no mail (RFC 7505)."""
    NO_TLS = "no tls"
    """The peer does not offer the TLS that the route wants."""
    BAD_TLS = "bad tls"
    """The TLS handshake failed, or the certificate is not valid for the host."""
    NO_AUTH = "no auth"
    """The route has a user, and the peer offers no AUTH mechanism that this client has."""
    NEEDS_UTF8 = "needs utf8"
    """An address or a header is not ASCII, and the peer does not take SMTPUTF8 (RFC 6531)."""
    NEEDS_BINARY = "needs binary"
    """The message is binary, and the peer does not take BINARYMIME (RFC 3030). It is never rewritten."""
    TOO_BIG = "too big"
    """The peer says in EHLO that it takes no message of this size (RFC 1870)."""
    FORBIDDEN = "forbidden"
    """The host has a private address, and the route does not allow one."""
    FAILED = "failed"
    """A failure of this server: a full disk, a missing directory, an internal error. It is never about the message."""
    IS_OURSELVES = "is ourselves"
    """Among the mail servers that the DNS names for a domain, this server comes first (RFC 5321 section 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """The result of one attempt, as the transport saw it. It says what happened, and never what that means."""

    protocol: Protocol
    stage: Stage
    peer: str = ""
    """The peer, as in `mx1.example.net [192.0.2.1]:25`; or a directory; or the URL of a webhook."""
    code: int | None = None
    """The reply code of SMTP or LMTP, or the status of HTTP, at this stage. None if there was none."""
    enhanced: str = ""
    """The enhanced status code in the reply (RFC 3463), as in `5.1.1`."""
    trouble: Trouble | None = None
    """What went wrong where it was no reply."""
    text: str = ""
    """The text of the peer's reply, or a description of the trouble. One line."""
    tls: str = ""
    fault: str = ""
    """The fault that the route asks for, if it was injected."""
    notifies: bool = False
    """Whether the peer has taken over the notice of success (DSN, RFC 3461)."""


class Then(StrEnum):
    """What is done next with a delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an attempt means."""

    then: Then
    status: str
    """The enhanced status code that a notice has (RFC 3463)."""
    because: str
    """Why, in words."""
    at: datetime | None = None
    """When to try again."""
    is_of_destination: bool = False
    """Whether the failure is the destination's and not this message's: other messages for it would fail too."""
    is_loop: bool = False
    """Whether the message goes in a circle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A delivery that waits, as far as `decide` needs to know it."""

    delivery_id: str
    attempts: int
    """Made before this one."""
    queued_at: datetime
    """When it was accepted, or redriven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long, and how often, deliveries are attempted."""

    retry_schedule: tuple[timedelta, ...] = tuple(
        timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 120, 240)
    )
    """The pause after the first attempt, after the second, and so on; the last repeats."""
    expire: timedelta = timedelta(days=5)
    """After this time the attempts end (RFC 5321 section 4.5.4.1: "at least 4-5 days")."""
    jitter: float = 0.1
    """By what share a pause may be longer, so that messages that failed together are not retried together."""
    pause: timedelta = timedelta(minutes=1)
    """The longest time for which nothing is sent to a destination that failed as a whole."""


_PERMANENT_TROUBLES = {
    Trouble.NULL_MX: "5.1.10",
    Trouble.NEEDS_UTF8: "5.6.7",
    Trouble.NEEDS_BINARY: "5.6.3",
    Trouble.TOO_BIG: "5.3.4",
}
"""Permanent failures, with their enhanced status codes. A host that does not exist is not among them: a DNS or a route
that is broken for an hour looks the same."""

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
"""The stages before the message: a failure there says nothing about the message."""

_BEFORE_THE_MESSAGE = {Stage.CONNECT, Stage.TLS, Stage.GREETING, Stage.HELLO, Stage.AUTH}
"""A reply there is about this server, or from a peer in trouble, and not about this message or its recipient."""

_WEBHOOK_REFUSALS = {410, 413, 415, 422}
"""The HTTP status codes that refuse this message for good: Gone, Content Too Large, Unsupported Media Type,
Unprocessable Content. 400, 401, 403 and 404 nearly always come from a receiver that was just deployed with a
mistake."""

_LOOP = re.compile(r"[45]\.4\.6")


def decide(queued: Queued, result: AttemptResult, now: datetime, policy: Policy) -> Decision:
    """What to do after an attempt: it was delivered, it is tried again at some time, or it is given up."""
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
        at=min(now + pause_after(queued, policy), ends_at),  # the last attempt is made at the very end
        is_of_destination=is_of_destination,
    )


def expired(policy: Policy, because: str, *, is_of_destination: bool = False) -> Decision:
    """The dead letter of a delivery whose time for attempts has passed."""
    return Decision(
        then=Then.GIVE_UP,
        status="5.4.7",
        because=f"Not delivered in {_long(policy.expire)}. The last time: {because}",
        is_of_destination=is_of_destination,
    )


def _long(time: timedelta) -> str:
    """The time in words: in days, or in hours if it is less than one day."""
    unit = "day" if time >= timedelta(days=1) else "hour"
    count = f"{time / timedelta(**{f'{unit}s': 1}):g}"
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"


def pause_after(queued: Queued, policy: Policy) -> timedelta:
    """How long to wait after this attempt. The jitter depends on the message and the attempt alone.

    Deliveries of one message that failed together come back together: so one notice can tell of all of them, and when
    notices come tells nobody which deliveries there were.
    """
    schedule = policy.retry_schedule
    pause = schedule[min(queued.attempts, len(schedule) - 1)]
    message_id = queued.delivery_id.partition(".")[0]
    digest = hashlib.sha256(f"{message_id} {queued.attempts}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return timedelta(milliseconds=round(pause / timedelta(milliseconds=1) * (1 + policy.jitter * share)))


def latest_due(now: datetime, policy: Policy) -> datetime:
    """When a delivery is due that is deferred now for the longest pause.

    A delivery that is due even later was deferred while the clock was ahead.
    """
    return now + max(policy.retry_schedule) * (1 + policy.jitter)


def is_delivered(result: AttemptResult) -> bool:
    """Whether the peer has acknowledged the message."""
    if result.trouble is not None:
        return False
    if result.stage is Stage.STORED:
        return True
    return result.stage is Stage.END and result.code is not None and 200 <= result.code < 300


def _refusal(result: AttemptResult) -> str:
    """The status with which the message is refused for good; empty if it is worth another attempt."""
    if result.trouble is not None:
        return _PERMANENT_TROUBLES.get(result.trouble, "")
    match result.protocol:
        case Protocol.SMTP | Protocol.LMTP | Protocol.MAILDIR:  # a Maildir has codes by `Fault` alone
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
        return ""  # "too many recipients", of before RFC 2821 (RFC 5321 section 4.5.3.1.10)
    if result.stage is Stage.BODY or code in {502, 503, 530, 535, 538}:
        return ""  # said in the midst of the octets, or about the order of commands and who we are: not about the mail
    return result.enhanced if result.enhanced.startswith("5.") else _STATUS_BY_STAGE.get(result.stage, "5.0.0")


_STATUS_BY_STAGE = {Stage.MAIL: "5.1.0", Stage.RCPT: "5.1.1"}
"""What a refusal without an enhanced code is most likely about."""


def _temporary(result: AttemptResult) -> str:
    if result.enhanced.startswith("4."):
        return result.enhanced
    if result.trouble in {Trouble.NO_SUCH_HOST, Trouble.DNS_FAILED}:
        return "4.4.3"
    if result.trouble in {Trouble.TIMEOUT, Trouble.DISCONNECTED, Trouble.GARBAGE}:
        return "4.4.2"
    return "4.4.1" if result.trouble is Trouble.UNREACHABLE else "4.0.0"


def _is_of_destination(result: AttemptResult) -> bool:
    """Whether the destination failed, so that attempts to it pause."""
    if result.fault:
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
    """What happened, in one line: who said what, and when."""
    said = " ".join(str(part) for part in (result.code, result.enhanced, result.text) if part)
    what = f"{result.trouble}: {said}" if result.trouble and said else said or str(result.trouble or result.stage)
    return f"{result.peer} at {result.stage}: {what}" if result.peer else f"at {result.stage}: {what}"


class Notify(StrEnum):
    """What a sender may want to hear of a recipient (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


def wants(notify: Collection[str], what: Notify) -> bool:
    """Whether a sender who said this wants to hear of that. Who said nothing hears of failures, and may of delays."""
    return what in notify if notify else what in {Notify.FAILURE, Notify.DELAY}
