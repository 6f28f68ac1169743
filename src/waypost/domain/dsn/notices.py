"""Compose notices to senders and to owners of email addresses.

A sender's notice is a delivery status notification (RFC 3461, 3464, 6522, 6533), which reports that mail could not be
delivered, is delayed or was delivered. An owner's notice reports a mail loop.

Senders must not learn the primary of an alias. So a notice about a forwarded copy names only the alias, and omits the
name of the next server and the text of its reply (see `redact`). Text from replies and headers is untrusted, so a
notice quotes it only as single lines of limited length.
"""

import binascii
import re
import textwrap
from collections.abc import Collection, Sequence
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from itertools import count

from msgspec import Struct

from waypost.domain.directory import addresses
from waypost.domain.dsn import returned_content
from waypost.domain.dsn.redact import discreet, one_line
from waypost.domain.mail.delivery import AttemptResult, Delivery, Notify, Protocol, Reason, wants
from waypost.domain.mail.messages import NO_RECIPIENT_DSN, Message, RecipientDsn, end_of_header

STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
"""An enhanced status code (RFC 3463 section 2)."""

_LINE_LIMIT = 900
"""The maximum length of a line in a notice, in bytes. RFC 5322 section 2.1.1 allows lines of up to 998 characters."""

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")
_MESSAGE_ID = re.compile(r"[!-;=?-~]{1,800}")


class Bounces(StrEnum):
    """The policy that decides which senders get notices about their mail."""

    ALWAYS = "always"
    AUTHENTICATED = "authenticated"
    """Only senders whose addresses were verified get notices.

    If a sender address is forged, its owner did not send the message and must not get a notice about it.
    """
    NEVER = "never"


class Action(StrEnum):
    """The action that a notice reports for a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    """The message was relayed to a server that does not send success notices."""
    EXPANDED = "expanded"
    """The message was delivered and also forwarded."""


class Permission(Struct, frozen=True):
    """Whether a sender may get a notice and, if not, the reason."""

    granted: bool
    because: str = ""


class Fate(Struct, frozen=True, kw_only=True):
    """The outcome of a delivery, as a notice reports it."""

    action: Action
    status: str
    """The enhanced status code (RFC 3463) that `delivery.decide` returned."""
    result: AttemptResult | None = None
    """The result of the last attempt; None if no attempt was made."""
    attempted_at: datetime | None = None
    retried_until: datetime | None = None


class RecipientOutcome(Struct, frozen=True, kw_only=True):
    """The outcome that a notice reports for one recipient."""

    recipient: str
    """The recipient's address, exactly as the sender wrote it."""
    fate: Fate
    is_forwarded: bool = False
    """Whether the copy was forwarded to the primary of an alias. The notice must not reveal the primary."""
    wishes: RecipientDsn = NO_RECIPIENT_DSN
    """The sender's DSN parameters for this recipient."""


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
    """Return whether the sender may get a notice of the type `what`: failure, delay or success.

    `is_report` is the result of `reports.is_report` for the message's header. `is_outside` means that the sender has no
    email address in this deployment. A sender outside the deployment gets a success notice only if `confirms_outside`
    is set. Success notices to outside senders are easy to abuse: anyone can send a message that will be delivered, and
    give another person's address as its sender.

    A notice never causes another notice (RFC 5321 section 6.1).
    """
    if not sender:
        return Permission(granted=False, because="the message has the null sender, like all reports and automatic mail")
    if reason in {Reason.NOTICE, Reason.RETURNED} or is_report:
        return Permission(granted=False, because="the message is itself a notice")
    if mode is Bounces.NEVER:
        return Permission(granted=False, because="the settings turn off all notices to senders (bounces)")
    if not wants(notify, what):
        asked = f"asked for NOTIFY={','.join(notify)}" if notify else "gave no NOTIFY parameter"
        return Permission(granted=False, because=f"the event is a {what}, and the sender {asked}")
    if mode is Bounces.AUTHENTICATED and not is_authentic:
        return Permission(granted=False, because="nothing proves that the message is from its sender")
    if what is Notify.SUCCESS and is_outside and not confirms_outside:
        because = "the sender has no email address here, and such senders get no confirmations (confirm_outside)"
        return Permission(granted=False, because=because)
    return Permission(granted=True)


# Notices to senders.


def gives_whole(message: Message, action: Action, *, is_outside: bool) -> bool:
    """Return whether a notice includes the whole message rather than only its header (RFC 3461 section 4.3).

    A failure notice includes the whole message if the sender requested it, the message is small, and the sender has an
    email address in this deployment. The notice to a sender outside the deployment never includes the body, because the
    message may be spam with a forged sender.
    """
    return (
        action is Action.FAILED
        and message.envelope.dsn.ret == "FULL"
        and not is_outside
        and returned_content.may_be_whole(message)
    )


def notice(
    outcomes: Sequence[RecipientOutcome],
    message: Message,
    *,
    original: bytes,
    is_whole: bool,
    hostname: str,
    notice_id: str,
    now: datetime,
) -> bytes:
    """Compose the notice that tells the sender what happened to a message for some of its recipients.

    All `outcomes` must have the same action. If `is_whole` is true, `original` must be the whole message, and the
    notice includes all of it if possible. If `is_whole` is false, `original` is the beginning of the message, and the
    notice includes only the header. The notice is ASCII, unless the client declared SMTPUTF8 or the returned body has
    8-bit bytes.
    """
    sender, action = message.envelope.sender, outcomes[0].fate.action
    whole = returned_content.whole(original) if is_whole else b""
    if whole:
        header = whole[: end_of_header(whole)]
    else:
        header = returned_content.header(original, recipients=len(message.envelope.recipients))
    recipients = "".join(f"{addresses.with_ascii_domain(one.recipient)}{one.wishes.orcpt}" for one in outcomes)
    is_ascii = header.isascii() and addresses.with_ascii_domain(sender).isascii() and recipients.isascii()
    is_utf8 = message.envelope.declares_smtputf8 and not is_ascii
    text = _for_people(outcomes, message, hostname=hostname)
    fields = _for_programs(outcomes, message, hostname=hostname, is_utf8=is_utf8)
    parts = [
        _part("text/plain; charset=utf-8", _octets(text), is_utf8=is_utf8),
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
    Action.DELAYED: "Delivery delayed; will keep retrying",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was relayed",
    Action.EXPANDED: "Your message was delivered and forwarded",
}

_OPENINGS = {
    Action.FAILED: "Your message could not be delivered to:",
    Action.DELAYED: "Your message has not yet been delivered to:",
    Action.DELIVERED: "Your message was delivered to:",
    Action.RELAYED: "Your message was relayed to a server that does not confirm delivery. The recipients are:",
    Action.EXPANDED: "Your message was delivered and also forwarded. The recipients are:",
}
"""For each action, the line that introduces the list of recipients in a notice."""

_MEANINGS = {
    "1": ("The address does not accept mail.", "Check the address for typing errors, and send the message again."),
    "2": (
        "The mailbox cannot accept mail at the moment.",
        "Try again in a few days, or contact the recipient in another way.",
    ),
    "3.4": ("The message is too large for the receiving system.", "Send a smaller message."),
    "4.6": (
        "The message was caught in a mail loop.",
        "Contact the recipient in another way. Only the recipient or their mail administrator can fix the loop.",
    ),
    "4.7": (
        "All delivery attempts failed, and the time limit for attempts has been reached.",
        "Send the message again later.",
    ),
    "6": ("The receiving system cannot process this type of message.", "Send the message again as plain text."),
    "7": (
        "The receiving system refused the message.",
        "The server's reply may give the reason. Contact the recipient in another way.",
    ),
}
"""The explanations of enhanced status codes, each with advice for the sender.

A key is either the last two numbers of a status code (RFC 3463 section 3), such as "4.6" for 5.4.6, or only its second
number, such as "1" for all codes 5.1.x.
"""
_ANY_MEANING = ("The receiving system reported a problem.", "Try again later, or contact the recipient in another way.")


def _for_people(outcomes: Sequence[RecipientOutcome], message: Message, *, hostname: str) -> list[str]:
    lines = [f"This is the mail system at {hostname}.", "", _OPENINGS[outcomes[0].fate.action], ""]
    for outcome in outcomes:
        lines += _about(outcome)
    return [
        *lines,
        f"The message ID is {message.id}.",
        f"Please include this ID if you contact postmaster@{hostname}.",
    ]


def _about(outcome: RecipientOutcome) -> list[str]:
    """Describe the outcome for one recipient in lines of human-readable text."""
    fate = outcome.fate
    lines = [f"    {one_line(outcome.recipient)}", ""]
    advice = "You requested this notice. You do not need to do anything."
    if fate.action is Action.FAILED:
        _, _, detail = _status(fate).partition(".")
        meaning, advice = _MEANINGS.get(detail) or _MEANINGS.get(detail.partition(".")[0]) or _ANY_MEANING
        lines += [f"{meaning} No further attempts will be made.", ""]
    if fate.action is Action.DELAYED:
        until = f" until {format_datetime(fate.retried_until)}" if fate.retried_until else ""
        retries = f"Delivery attempts will continue{until}."
        advice = f"You do not need to do anything.\n{retries}\nYou will get another notice if delivery fails."
    if diagnostic := _diagnostic(outcome):
        lines += ["The receiving server replied:" if _is_reply(fate.result) else "The problem was:", ""]
        lines += [*textwrap.wrap(diagnostic, 76, initial_indent="    ", subsequent_indent="    "), ""]
    wrapped = (line for sentence in advice.splitlines() for line in textwrap.wrap(sentence, 76))
    return [*lines, *wrapped, ""]


def _for_programs(outcomes: Sequence[RecipientOutcome], message: Message, *, hostname: str, is_utf8: bool) -> list[str]:
    """Return the lines of the machine-readable part (RFC 3464 sections 2.2 and 2.3).

    The first group of fields is about the message. Each recipient has its own group of fields, which begins after an
    empty line.
    """
    fields = [
        ("Original-Envelope-Id", message.envelope.dsn.envid),
        ("Reporting-MTA", f"dns; {hostname}"),
        ("Arrival-Date", format_datetime(message.received_at)),
    ]
    for outcome in outcomes:
        fields += [("", ""), *_fields_of(outcome, message, is_utf8=is_utf8)]
    return [f"{name}: {one_line(value, _LINE_LIMIT)}" if name else "" for name, value in fields if value or not name]


def _fields_of(outcome: RecipientOutcome, message: Message, *, is_utf8: bool) -> list[tuple[str, str]]:
    """Return the names and values of one recipient's fields. The value of a field is empty if it is unknown."""
    fate, diagnostic = outcome.fate, _diagnostic(outcome)
    kind, _, original = outcome.wishes.orcpt.partition(";")
    return [
        ("Original-Recipient", _typed(kind, original, is_utf8) if original else ""),
        ("Final-Recipient", _typed("rfc822", outcome.recipient, is_utf8)),
        ("Action", fate.action.value),
        ("Status", _status(fate)),
        ("Remote-MTA", _remote(outcome)),
        ("Diagnostic-Code", f"{'smtp' if _is_reply(fate.result) else 'x-waypost'}; {diagnostic}" if diagnostic else ""),
        ("Last-Attempt-Date", format_datetime(fate.attempted_at) if fate.attempted_at else ""),
        ("Final-Log-ID", message.id),
        ("Will-Retry-Until", format_datetime(fate.retried_until) if fate.retried_until else ""),
    ]


def _returned(header: bytes, whole: bytes, *, is_utf8: bool) -> bytes:
    """Compose the part of the notice that contains the whole message, or only its header if `whole` is empty."""
    is_global = is_utf8 and not header.isascii() and _is_utf8(header)
    if whole:
        return _labelled(
            "message/global" if is_global else "message/rfc822", "7bit" if whole.isascii() else "8bit", whole
        )
    return _part("message/global-headers" if is_global else "text/rfc822-headers", header, is_utf8=is_utf8)


def _diagnostic(outcome: RecipientOutcome) -> str:
    """Return the peer's reply or the problem with the attempt, without details that the sender must not see.

    The result is empty if no attempt was made.
    """
    result = outcome.fate.result
    if result is None:
        return ""
    enhanced = result.enhanced if STATUS.fullmatch(result.enhanced) else ""
    text = discreet(result.text, is_forwarded=outcome.is_forwarded)
    reply = " ".join(str(part) for part in (result.code, enhanced, text) if part)
    return f"{result.trouble}: {reply}" if result.trouble and reply else reply or str(result.trouble or "")


def _is_reply(result: AttemptResult | None) -> bool:
    """Return whether the result of an attempt is an SMTP or LMTP reply (RFC 5321 section 4.2)."""
    if result is None or result.code is None or result.trouble is not None:
        return False
    return result.protocol in {Protocol.SMTP, Protocol.LMTP}


def _remote(outcome: RecipientOutcome) -> str:
    """Return the Remote-MTA value, which names the server that replied.

    The value is empty if the peer is not a mail server. It is also empty for a forwarded copy, because the server's
    name could reveal the primary of the alias.
    """
    result = outcome.fate.result
    if result is None or outcome.is_forwarded:
        return ""
    host = result.peer.partition(" ")[0]
    is_server = result.protocol in {Protocol.SMTP, Protocol.LMTP} and _HOST.fullmatch(host)
    return f"dns; {host}" if is_server else ""


def _status(fate: Fate) -> str:
    """Return the enhanced status code that the notice gives for an outcome.

    A code that is malformed or contradicts the action is replaced by a general code (RFC 3464 section 2.3.4).
    """
    first = {Action.FAILED: "5", Action.DELAYED: "4"}.get(fate.action, "2")
    return fate.status if STATUS.fullmatch(fate.status) and fate.status[0] == first else f"{first}.0.0"


def _typed(kind: str, address: str, is_utf8: bool) -> str:
    r"""Return an address preceded by its type, as in `rfc822; a@b.example`.

    If the notice must be ASCII, non-ASCII characters are encoded as in `J\x{F6}rg` (RFC 6533 section 3).
    """
    if address.isascii() and kind.lower() != "utf-8":
        return f"{kind}; {address}"
    if is_utf8:
        return f"utf-8; {address}"
    encoded = (c if c.isascii() and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in address)
    return f"utf-8; {''.join(encoded)}"


# Notices to owners.


def owner_notice(
    delivery: Delivery, message: Message, path: Sequence[str], *, hostname: str, notice_id: str, now: datetime
) -> bytes:
    """Compose the notice that informs the owner of an email address about a mail loop.

    `path` is the result of `reports.path`: the servers that the message passed through, starting with the first one.
    """
    owner = delivery.address.text
    steps = [f"    {number}. {one_line(name)}" for number, name in enumerate(path, 1)]
    text = [
        f"This is the mail system at {hostname}.",
        "",
        "A message to you was caught in a mail loop, so its delivery was stopped:",
        "",
        f"    id       {message.id}",
        f"    from     <{one_line(message.envelope.sender)}>",
        f"    to       <{one_line(delivery.sent_to)}>",
        f"    for      <{one_line(owner)}>",
        f"    subject  {one_line(message.subject)}",
        f"    arrived  {format_datetime(message.received_at)}",
        "",
        "The message passed through these servers, in this order:",
        "",
        *(steps or ["    (the message's header lists no servers)"]),
        "",
        *textwrap.wrap(
            "One of these servers sends mail for this address back to a server that has already handled it."
        ),
        *textwrap.wrap(f"Check the forwarding rules on the other servers and the routes on {hostname}."),
        "Remove one of the routes or rules that form the loop.",
        "Until the loop is removed, all mail that takes this path will fail in the same way.",
    ]
    is_utf8 = not owner.isascii()
    top = [
        *_top(
            owner,
            "A message to you was caught in a mail loop",
            message,
            hostname=hostname,
            notice_id=notice_id,
            now=now,
        ),
        "Auto-Submitted: auto-generated",
    ]
    part = _part("text/plain; charset=utf-8", _octets(text), is_utf8=is_utf8)
    return _octets(top, is_utf8=is_utf8) + part


# The format of all notices.


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
    """Compose a part. The content of the part is encoded as quoted-printable if it cannot be sent unencoded."""
    if not returned_content.is_lines(octets) or not (octets.isascii() or (is_utf8 and _is_utf8(octets))):
        return _labelled(content_type, "quoted-printable", binascii.b2a_qp(octets))
    return _labelled(content_type, "7bit" if octets.isascii() else "8bit", octets)


def _labelled(content_type: str, encoding: str, octets: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + octets


def _boundary(notice_id: str, parts: Sequence[bytes]) -> str:
    """Return a boundary that does not occur in any of the parts (RFC 2046 section 5.1.1)."""
    names = (f"=_{notice_id}.{number}" for number in count())
    return next(name for name in names if not any(name.encode() in part for part in parts))


def _octets(lines: Sequence[str], *, is_utf8: bool = True) -> bytes:
    """Encode the lines, cut each line at `_LINE_LIMIT` bytes, and end each line with CRLF.

    If `is_utf8` is false, non-ASCII characters are replaced with question marks.
    """
    octets = (line.encode("utf-8" if is_utf8 else "ascii", "replace")[:_LINE_LIMIT] for line in lines)
    return b"".join(line.decode("utf-8", "ignore").encode() + b"\r\n" for line in octets)


def _is_utf8(octets: bytes) -> bool:
    return octets.decode("utf-8", "replace").encode() == octets
