"""What a sender is told of mail that failed, is late or has arrived: delivery status notifications (RFC 3461, 3464,
6522, 6533). And what an owner is told of a loop.

Who is behind an alias is not for senders to know. So a notice for a forwarded copy speaks of the alias, leaves out
which server was asked, and gives the words of that server with discretion (`domain.discretion`). All that others
wrote, in a reply as in a header, keeps to its line.
"""

import binascii
import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from itertools import count

from waypost.domain.directory import addresses
from waypost.domain.dsn import returned_content
from waypost.domain.dsn.redact import discreet, one_line
from waypost.domain.mail.delivery import AttemptResult, Delivery, Notify, Protocol, Reason, wants
from waypost.domain.mail.messages import NO_RECIPIENT_DSN, Message, RecipientDsn, end_of_header

STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
"""An enhanced status code (RFC 3463 section 2)."""

_LINE_LIMIT = 900
"""Octets of a line of ours (RFC 5322 section 2.1.1: at most 998)."""

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")
_MESSAGE_ID = re.compile(r"[!-;=?-~]{1,800}")


class Bounces(StrEnum):
    """Which senders are told what became of their mail."""

    ALWAYS = "always"
    AUTHENTICATED = "authenticated"
    """Those who are who they say: a notice to anybody else may reach a person who never sent a thing."""
    NEVER = "never"


class Action(StrEnum):
    """What was done with a message (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    """Handed to a server that will not tell the sender what becomes of it."""
    EXPANDED = "expanded"
    """Delivered, and sent on."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether a sender may be told, and if not, why."""

    granted: bool
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a delivery, as a sender is told."""

    action: Action
    status: str
    """The enhanced status code (RFC 3463), as `delivery.decide` has it."""
    result: AttemptResult | None = None
    """The last attempt, if there was one."""
    attempted_at: datetime | None = None
    retried_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a notice tells of one recipient."""

    recipient: str
    """As the sender wrote it."""
    fate: Fate
    is_forwarded: bool = False
    """Whether it became of the copy for a primary, so that nothing of who is behind the recipient may be told."""
    wishes: RecipientDsn = NO_RECIPIENT_DSN
    """What the sender asked for this recipient."""


def may_bounce(
    *,
    sender: str,
    reason: Reason,
    what: Notify,
    notify: Collection[str],
    mode: Bounces,
    is_authentic: bool,
    is_report: bool = False,
    is_outside: bool = False,
    confirms_outside: bool = False,
) -> Permission:
    """Whether the sender is told of a failure, a delay or a success. `is_report` is what `reports` says of the header.

    `is_outside`: the sender is no email address here. Such a sender is told of a success only if the settings say so
    (`confirms_outside`). A success can be had for any message, so it is what who abuses notices asks for.

    Nobody is ever told what became of a notice, so that no notice can cause another one (RFC 5321 section 6.1).
    """
    if not sender:
        return Permission(granted=False, because="the message has the null sender, as reports and automatic mail do")
    if reason in {Reason.NOTICE, Reason.RETURNED} or is_report:
        return Permission(granted=False, because="the message is a notice itself")
    if mode is Bounces.NEVER:
        return Permission(granted=False, because="the settings say that no sender is told")
    if not wants(notify, what):
        asked = ",".join(notify) or "nothing"
        return Permission(granted=False, because=f"it is a {what}, and the sender asked for NOTIFY={asked}")
    if mode is Bounces.AUTHENTICATED and not is_authentic:
        return Permission(granted=False, because="nothing proves that the message is from its sender")
    if what is Notify.SUCCESS and is_outside and not confirms_outside:
        because = "the sender is no address here, and senders outside are not told of successes (confirm_outside)"
        return Permission(granted=False, because=because)
    return Permission(granted=True)


# What senders are told.


def gives_whole(message: Message, action: Action, *, is_outside: bool) -> bool:
    """Whether all of a message goes back, and not its header alone (RFC 3461 section 4.3).

    It does where it failed, if the sender asked for it, the message is small, and the sender has an email address
    here. Nobody outside is sent a body: it may be spam that names them as its sender.
    """
    return (
        action is Action.FAILED
        and message.envelope.dsn.ret == "FULL"
        and not is_outside
        and returned_content.may_be_whole(message)
    )


def notice(
    told: Sequence[Told],
    message: Message,
    *,
    original: bytes,
    is_whole: bool,
    hostname: str,
    notice_id: str,
    now: datetime,
) -> bytes:
    """The message that tells the sender what became of a message for some of its recipients.

    All of `told` have the same action. `original` is the author's octets: all of them if `is_whole`, and then they go
    back if they can; else only the header does. What comes out is ASCII, unless the sender speaks UTF-8 (SMTPUTF8) or
    wants an 8-bit body back.
    """
    sender, action = message.envelope.sender, told[0].fate.action
    whole = returned_content.whole(original) if is_whole else b""
    if whole:
        header = whole[: end_of_header(whole)]
    else:
        header = returned_content.header(original, recipients=len(message.envelope.recipients))
    named = "".join(f"{addresses.with_ascii_domain(one.recipient)}{one.wishes.orcpt}" for one in told)
    is_ascii = header.isascii() and addresses.with_ascii_domain(sender).isascii() and named.isascii()
    is_utf8 = message.envelope.declares_smtputf8 and not is_ascii
    words = _for_people(told, message, hostname=hostname)
    fields = _for_programs(told, message, hostname=hostname, is_utf8=is_utf8)
    parts = [
        _part("text/plain; charset=utf-8", _octets(words), is_utf8=is_utf8),
        _part(
            "message/global-delivery-status" if is_utf8 else "message/delivery-status",
            _octets(fields, is_utf8=is_utf8),
            is_utf8=is_utf8,
        ),
        _returned(header, whole, is_utf8=is_utf8),
    ]
    boundary = _boundary(notice_id, parts)
    top = [
        *_top(sender, _SUBJECTS[action], message, hostname=hostname, notice_id=notice_id, now=now),
        "Auto-Submitted: auto-replied",  # RFC 3834 section 5
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        f"Content-Transfer-Encoding: {'7bit' if all(part.isascii() for part in parts) else '8bit'}",
    ]
    between = f"\r\n--{boundary}".encode()
    report = b"".join(between + b"\r\n" + part for part in parts)
    return _octets(top, is_utf8=is_utf8) + report + between + b"--\r\n"


_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is late, and is still tried",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was handed on",
    Action.EXPANDED: "Your message was delivered and sent on",
}

_MEANINGS = {
    "1": ("The address does not take it.", "Look for mistakes in the address, and send the message again."),
    "2": ("The mailbox cannot take it now.", "Try again in some days, or reach the recipient in another way."),
    "3.4": ("It is too big for the receiving server.", "Send less at once."),
    "4.6": ("It went in a circle.", "Reach the recipient in another way, and tell of this: only they can end it."),
    "4.7": ("It was tried again and again, and the time for that is over.", "Send it again later."),
    "6": ("The receiving server cannot read such a message.", "Send it in a simpler form, as plain text."),
    "7": ("The receiving server does not want it.", "What it said may tell why. Reach the recipient in another way."),
}
"""What a status means, and what to do, by what follows its first digit (RFC 3463 section 3)."""
_ANY_MEANING = ("Something is wrong where it should go.", "Try again later, or reach the recipient in another way.")


def _for_people(told: Sequence[Told], message: Message, *, hostname: str) -> list[str]:
    lines = [f"This is the mail system at {hostname}.", "", f"{_SUBJECTS[told[0].fate.action]}:", ""]
    for one in told:
        lines += _about(one)
    return [
        *lines,
        f"The id of the message is {message.id}. Who asks for help",
        f"at postmaster@{hostname} should tell it.",
    ]


def _about(told: Told) -> list[str]:
    """What became of it for one recipient, in words for people."""
    fate = told.fate
    lines = [f"    {one_line(told.recipient)}", ""]
    advice = "You asked to be told of this. There is nothing to do."
    if fate.action is Action.FAILED:
        _, _, detail = _status(fate).partition(".")
        meaning, advice = _MEANINGS.get(detail) or _MEANINGS.get(detail.partition(".")[0]) or _ANY_MEANING
        lines += [f"{meaning} It is not tried again.", ""]
    if fate.action is Action.DELAYED:
        until = f" until {format_datetime(fate.retried_until)}" if fate.retried_until else ""
        advice = f"You need not do anything. It is tried again{until}, and you will be told if that is in vain."
    if said := _said(told):
        lines += ["The receiving server said:" if _is_reply(fate.result) else "What went wrong:", ""]
        lines += [*textwrap.wrap(said, 76, initial_indent="    ", subsequent_indent="    "), ""]
    return [*lines, *textwrap.wrap(advice, 76), ""]


def _for_programs(told: Sequence[Told], message: Message, *, hostname: str, is_utf8: bool) -> list[str]:
    """The fields for the message, and for each recipient an empty line and its fields (RFC 3464 sections 2.2, 2.3)."""
    fields = [
        ("Original-Envelope-Id", message.envelope.dsn.envid),
        ("Reporting-MTA", f"dns; {hostname}"),
        ("Arrival-Date", format_datetime(message.received_at)),
    ]
    for one in told:
        fields += [("", ""), *_fields_of(one, message, is_utf8=is_utf8)]
    return [f"{name}: {one_line(value, _LINE_LIMIT)}" if name else "" for name, value in fields if value or not name]


def _fields_of(told: Told, message: Message, *, is_utf8: bool) -> list[tuple[str, str]]:
    """The fields of one recipient; what is not known is empty."""
    fate, said = told.fate, _said(told)
    kind, _, original = told.wishes.orcpt.partition(";")
    return [
        ("Original-Recipient", _typed(kind, original, is_utf8) if original else ""),
        ("Final-Recipient", _typed("rfc822", told.recipient, is_utf8)),
        ("Action", fate.action.value),
        ("Status", _status(fate)),
        ("Remote-MTA", _remote(told)),
        ("Diagnostic-Code", f"{'smtp' if _is_reply(fate.result) else 'x-waypost'}; {said}" if said else ""),
        ("Last-Attempt-Date", format_datetime(fate.attempted_at) if fate.attempted_at else ""),
        ("Final-Log-ID", message.id),
        ("Will-Retry-Until", format_datetime(fate.retried_until) if fate.retried_until else ""),
    ]


def _returned(header: bytes, whole: bytes, *, is_utf8: bool) -> bytes:
    """What is given back of the message: all of it if there is a `whole`, else the header."""
    is_global = is_utf8 and not header.isascii() and _is_utf8(header)
    if whole:
        return _labelled(
            "message/global" if is_global else "message/rfc822", "7bit" if whole.isascii() else "8bit", whole
        )
    return _part("message/global-headers" if is_global else "text/rfc822-headers", header, is_utf8=is_utf8)


def _said(told: Told) -> str:
    """What the peer replied, or what went wrong, as the sender may know it; empty if there was no attempt."""
    result = told.fate.result
    if result is None:
        return ""
    enhanced = result.enhanced if STATUS.fullmatch(result.enhanced) else ""
    words = discreet(result.text, is_forwarded=told.is_forwarded)
    said = " ".join(str(part) for part in (result.code, enhanced, words) if part)
    return f"{result.trouble}: {said}" if result.trouble and said else said or str(result.trouble or "")


def _is_reply(result: AttemptResult | None) -> bool:
    """Whether it was a reply as RFC 5321 has them."""
    if result is None or result.code is None or result.trouble is not None:
        return False
    return result.protocol in {Protocol.SMTP, Protocol.LMTP}


def _remote(told: Told) -> str:
    """Which server it was; empty if that would tell where an alias leads."""
    result = told.fate.result
    if result is None or told.is_forwarded:
        return ""
    host = result.peer.partition(" ")[0]
    is_server = result.protocol in {Protocol.SMTP, Protocol.LMTP} and _HOST.fullmatch(host)
    return f"dns; {host}" if is_server else ""


def _status(fate: Fate) -> str:
    """The status, which agrees with the action (RFC 3464 section 2.3.4)."""
    first = {Action.FAILED: "5", Action.DELAYED: "4"}.get(fate.action, "2")
    return fate.status if STATUS.fullmatch(fate.status) and fate.status[0] == first else f"{first}.0.0"


def _typed(kind: str, address: str, is_utf8: bool) -> str:
    r"""An address with its type; where it has to be ASCII, it is spelled as in `J\x{F6}rg` (RFC 6533 section 3)."""
    if address.isascii() and kind.lower() != "utf-8":
        return f"{kind}; {address}"
    if is_utf8:
        return f"utf-8; {address}"
    spelled = (c if c.isascii() and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in address)
    return f"utf-8; {''.join(spelled)}"


# What owners are told.


def owner_notice(
    delivery: Delivery, message: Message, path: Sequence[str], *, hostname: str, notice_id: str, now: datetime
) -> bytes:
    """The message that tells the owner of an email address of a loop. `path` is what `reports.path` gives."""
    owner = delivery.address.text
    steps = [f"    {number}. {one_line(name)}" for number, name in enumerate(path, 1)]
    text = [
        f"This is the mail system at {hostname}.",
        "",
        "A message to you went in a circle, and was stopped:",
        "",
        f"    id       {message.id}",
        f"    from     <{one_line(message.envelope.sender)}>",
        f"    to       <{one_line(delivery.sent_to)}>",
        f"    for      <{one_line(owner)}>",
        f"    subject  {one_line(message.subject)}",
        f"    arrived  {format_datetime(message.received_at)}",
        "",
        "It has passed these servers, the first one first:",
        "",
        *(steps or ["    (its header names none)"]),
        "",
        "What to do: one of them sends mail for this email address back to where it had",
        "been. Look at what is forwarded there and at the routes here, and take out one",
        "step of the circle. Until then all mail that goes this way ends in this way.",
    ]
    is_utf8 = not owner.isascii()
    top = [
        *_top(owner, "A message to you went in a circle", message, hostname=hostname, notice_id=notice_id, now=now),
        "Auto-Submitted: auto-generated",
    ]
    part = _part("text/plain; charset=utf-8", _octets(text), is_utf8=is_utf8)
    return _octets(top, is_utf8=is_utf8) + part


# How a message of ours is written.


def _top(to: str, subject: str, message: Message, *, hostname: str, notice_id: str, now: datetime) -> list[str]:
    about = f"<{message.header_id}>" if _MESSAGE_ID.fullmatch(message.header_id) else ""
    return [
        f"From: Mail Delivery System <postmaster@{hostname}>",
        f"To: <{one_line(addresses.with_ascii_domain(to))}>",  # a U-label would make the notice need SMTPUTF8
        f"Subject: {subject}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{notice_id}@{hostname}>",
        *([f"In-Reply-To: {about}", f"References: {about}"] if about else []),
        "MIME-Version: 1.0",
    ]


def _part(content_type: str, octets: bytes, *, is_utf8: bool) -> bytes:
    """A part that may be encoded, and is if it has to be."""
    if not returned_content.is_lines(octets) or not (octets.isascii() or (is_utf8 and _is_utf8(octets))):
        return _labelled(content_type, "quoted-printable", binascii.b2a_qp(octets))
    return _labelled(content_type, "7bit" if octets.isascii() else "8bit", octets)


def _labelled(content_type: str, encoding: str, octets: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + octets


def _boundary(notice_id: str, parts: Sequence[bytes]) -> str:
    """A line that is in none of the parts (RFC 2046 section 5.1.1)."""
    names = (f"=_{notice_id}.{number}" for number in count())
    return next(name for name in names if not any(name.encode() in part for part in parts))


def _octets(lines: Sequence[str], *, is_utf8: bool = True) -> bytes:
    """Lines as they are sent. What ASCII has no letters for becomes a question mark, if it must be ASCII."""
    octets = (line.encode("utf-8" if is_utf8 else "ascii", "replace")[:_LINE_LIMIT] for line in lines)
    return b"".join(line.decode("utf-8", "ignore").encode() + b"\r\n" for line in octets)


def _is_utf8(octets: bytes) -> bool:
    return octets.decode("utf-8", "replace").encode() == octets
