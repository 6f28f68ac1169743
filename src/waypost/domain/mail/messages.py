"""The message: its envelope and raw bytes, its id, what is read from its header, and the lines that are put before it.

The raw bytes are stored as they came after DATA and never written anew, so the author's DKIM signature stays
valid. What a mailbox holds is `trace header + raw bytes`.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from itertools import islice

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import encoded_words

HEADER_LIMIT = 256 * 1024
"""Octets of a header."""

MAX_RECEIVED_LINES = 100
"""More `Received` lines than this are a loop (RFC 5321 section 6.3: "normally at least 100")."""

SUBJECT_LIMIT = 998
"""Characters of the subject that are kept for lists; the message itself keeps all of it."""

_SUBJECT_OCTETS = 12 * SUBJECT_LIMIT
"""Octets of the subject that are read, so that a subject of megabytes costs no more than any other.

A Chinese character is 9 octets in an encoded word, and there is the word around it.
"""

_LOOP_HEADER = "X-Waypost-Loop"
_DELIVERY_HEADER = "X-Waypost-Delivery"

HEADER_ID_LIMIT = 998
"""Characters that a Message-ID may have; a longer one is ignored, as no line of a header may be longer."""

_RECEIVED = re.compile(rb"\r\nreceived[ \t]*:", re.IGNORECASE)
_SUBJECT = re.compile(rb"\r\nsubject[ \t]*:", re.IGNORECASE)
_HEADER_ID = re.compile(rb"\r\nmessage-id[ \t]*:", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"<([^<>]*)>")
_COMMENT = re.compile(r"\([^()]*\)")
_LINE_END = re.compile(rb"\r\n(?![ \t])")
_LOOP_TOKEN = re.compile(rb"\r\nx-waypost-loop[ \t]*:[ \t]*([^\r]*)", re.IGNORECASE)
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, characters that change the direction of text, and unpaired surrogates, which some charsets can
produce."""

_NOT_IN_NAME = re.compile(r"[^\w.:\[\]-]", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecipientDsn:
    """Which notices the sender asked for, for one recipient (RFC 3461 section 4)."""

    notify: tuple[str, ...] = ()
    """NEVER, or some of SUCCESS, FAILURE, DELAY; empty if NOTIFY was not given."""
    orcpt: str = ""
    """The original recipient, `type;address`, decoded from xtext."""


NO_RECIPIENT_DSN = RecipientDsn()
"""The sender asked for nothing."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """Which notices the sender asked for, for a message (RFC 3461 section 4)."""

    ret: str = ""
    """FULL or HDRS: how much of the message a notification shall have."""
    envid: str = ""
    """The sender's name for this message, decoded from xtext."""
    recipients: tuple[RecipientDsn, ...] = ()
    """In the order of the envelope's recipients; empty if the sender asked for nothing."""


NO_DSN = Dsn()
"""The sender asked for nothing, as nearly all senders do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The SMTP envelope of a message."""

    sender: str
    """MAIL FROM without the angle brackets; empty for the null sender `<>`."""
    recipients: tuple[str, ...]
    """Each accepted RCPT TO, without the angle brackets, as the sender wrote it."""
    helo: str
    peer: str
    """The client's IP address."""
    protocol: str
    """The `with` of the Received line: SMTP, ESMTPS, UTF8LMTP and so on (RFC 3848, RFC 6531)."""
    body: str = "7BIT"
    """The kind of the octets, as the BODY parameter of MAIL names it: 7BIT, 8BITMIME (RFC 6152) or BINARYMIME (RFC
    3030). It is found from the octets, whatever the client declared."""
    tls: str = ""
    """TLS version and cipher of the connection, as in `TLSv1.3 TLS_AES_256_GCM_SHA384`; empty without TLS."""
    dsn: Dsn = NO_DSN

    @property
    def declares_smtputf8(self) -> bool:
        """Whether the client declared SMTPUTF8 (RFC 6531). Some clients do for every message."""
        return self.protocol.startswith("UTF8")

    def wishes_for(self, recipient: str) -> RecipientDsn:
        """Which notices the sender asked for, for a recipient as written in RCPT TO."""
        if not self.dsn.recipients or recipient not in self.recipients:
            return NO_RECIPIENT_DSN
        return self.dsn.recipients[self.recipients.index(recipient)]

    def wishes(self) -> dict[str, RecipientDsn]:
        """Which notices the sender asked for, for all recipients; empty if for none."""
        said = self.dsn.recipients
        return dict(zip(reversed(self.recipients), reversed(said), strict=True)) if said else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One accepted SMTP transaction, without its bytes. Its id is the one in the 250 reply."""

    id: str
    envelope: Envelope
    received_at: datetime
    size: int
    """Octets of the raw message, as sent after DATA."""
    subject: str
    header_id: str = ""
    """Its Message-ID field, without the angle brackets; empty if it has none."""
    is_authentic: bool = False
    """Whether a notice to the sender reaches the person who sent it, by SPF or DKIM (`domain.mailauth.vouching`) or
    because the client is trusted."""
    authserv_id: str = ""
    """The name that marks `Authentication-Results` fields as this server's; empty if a trusted server handed the
    message over."""


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What acceptance needs to know of a message's header."""

    subject: str
    received_lines: int
    """Counted up to one more than the limit."""
    loop_tokens: tuple[str, ...]
    header_id: str = ""
    """The Message-ID, without the angle brackets."""


def new_id(now: datetime, number: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562 section 5.7): ids sort by the time at which messages began to come in.

    `number` orders the ids of one millisecond (section 6.2, method 1; the first 4,096 of them), `random` is 8
    octets from a good source.
    """
    milliseconds = round(now.timestamp() * 1000)
    version, variant = 0x7, 0x2
    value = milliseconds << 80 | version << 76 | (number & 0xFFF) << 64
    value |= variant << 62 | int.from_bytes(random) >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def read_header(raw: bytes) -> HeaderFacts:
    """Read what acceptance needs from the header of a message. Never fails: a header may be any bytes, or missing."""
    header = b"\r\n" + raw[: end_of_header(raw)]  # with a line end before its first line as before any other
    subject = _SUBJECT.search(header)
    received = islice(_RECEIVED.finditer(header), MAX_RECEIVED_LINES + 1)
    tokens = islice(_LOOP_TOKEN.finditer(header), MAX_RECEIVED_LINES)
    return HeaderFacts(
        subject=_readable(_beginning(header, subject.end())) if subject else "",
        received_lines=sum(1 for _ in received),
        loop_tokens=tuple(token[1].decode("ascii", "replace").strip() for token in tokens),
        header_id=_header_id(header),
    )


def _header_id(header: bytes) -> str:
    found = _HEADER_ID.search(header)
    if found is None:
        return ""
    beginning = header[found.end() : found.end() + 4 * HEADER_ID_LIMIT]
    return read_header_id(_first_value(beginning).decode("utf-8", "replace"))


def read_header_id(value: str) -> str:
    """The Message-ID in the value of its field, without angle brackets; empty if there is none, or a too long one.

    It may be one that RFC 5322 section 3.6.4 does not allow: without brackets, or with spaces; a run of spaces becomes
    one.
    """
    bracketed = _IN_BRACKETS.search(value)
    text = bracketed[1] if bracketed else _COMMENT.sub(" ", value).strip("<> \t")
    text = _NOT_TEXT.sub("", " ".join(text.split()))
    return text if len(text) <= HEADER_ID_LIMIT else ""


def end_of_header(raw: bytes | bytearray) -> int | None:
    """Where the lines of the header end, before the empty line; None if no line is empty."""
    if raw.startswith(b"\r\n"):
        return 0
    end = raw.find(b"\r\n\r\n")
    return None if end < 0 else end + 2


def loop_token(key: bytes, email_address_id: str) -> str:
    """The loop token on copies that were forwarded for this alias, or sent on for this email address.

    Only the holder of `key` can make or check it.
    """
    return hmac.digest(key, b"loop:" + email_address_id.encode(), hashlib.sha256).hex()


def refuse_loop(facts: HeaderFacts, *, ids: list[str], key: bytes) -> None:
    """Raise `errors.MailLoop` if the message has too many hops, or has been here before for one of these.

    `ids` are of the email addresses that would send it on: aliases, and those with a route that leads away.

    The text never names a primary: senders must not learn the primary of an alias.
    """
    if facts.received_lines > MAX_RECEIVED_LINES:
        raise errors.MailLoop(f"Too many hops: more than {MAX_RECEIVED_LINES} Received lines")
    if not facts.loop_tokens:
        return
    ours = {loop_token(key, email_address_id) for email_address_id in ids}
    if ours.intersection(facts.loop_tokens):
        raise errors.MailLoop("Mail loop: this message has been forwarded here before")


def trace_header(
    message: Message,
    *,
    hostname: str,
    delivered_to: str,
    sent_to: str,
    results: Sequence[str] = (),
    tokens: Sequence[str] = (),
    delivery_id: str = "",
) -> bytes:
    """The lines put before the raw bytes for one delivery (RFC 5321 section 4.4, RFC 9228), CRLF included.

    `results` are the lines of the `Authentication-Results` field (RFC 8601); `tokens` mark a copy that is sent on, so
    that it is known if it ever comes back; by `delivery_id` a receiver recognises a copy that it gets twice. It is
    empty for a copy that stays in the inbox.

    A copy that is sent on gets lines in ASCII where that is possible, because a server without SMTPUTF8 takes no
    others: domains are A-labels, and where the local part of `sent_to` is not ASCII there is no `for` clause, which is
    optional (RFC 5321 section 4.4). The clause stays where `delivered_to` needs SMTPUTF8 in any case.
    """
    envelope = message.envelope
    if delivery_id:
        delivered_to, sent_to = addresses.with_ascii_domain(delivered_to), addresses.with_ascii_domain(sent_to)
    is_for_omitted = bool(delivery_id) and delivered_to.isascii() and not sent_to.isascii()
    by = f"\tby {hostname} with {envelope.protocol}{_tls_comment(envelope.tls)}id {message.id}"
    date = _date(message.received_at)
    lines = [
        f"Return-Path: <{envelope.sender}>",
        f"Delivered-To: {delivered_to}",
        *results,
        f"Received: from {_NOT_IN_NAME.sub('?', envelope.helo)} ([{_address_literal(envelope.peer)}])",
        *([f"{by};", f"\t{date}"] if is_for_omitted else [by, f"\tfor <{sent_to}>; {date}"]),
    ]
    lines += [f"{_LOOP_HEADER}: {token}" for token in tokens]
    if delivery_id:
        lines.append(f"{_DELIVERY_HEADER}: {delivery_id}")
    return "\r\n".join([*lines, ""]).encode()


def without_return_path(trace_header: bytes) -> bytes:
    """The trace lines for another mail server: the Return-Path is left out, as the server of final delivery writes it
    (RFC 5321 section 4.4).
    """
    first, _, rest = trace_header.partition(b"\r\n")
    return rest if first.startswith(b"Return-Path:") else trace_header


@lru_cache(maxsize=64)
def _date(moment: datetime) -> str:
    """A moment as RFC 5322 has it. All deliveries of a message, and all messages of a moment, share one."""
    return format_datetime(moment)


def _tls_comment(tls: str) -> str:
    """What TLS was spoken. RFC 8314 section 4.3 has a clause for the cipher, but with names that OpenSSL does not
    provide.
    """
    return f" ({tls})\r\n\t" if tls else " "


def _address_literal(peer: str) -> str:
    """An IP address as in RFC 5321 section 4.1.3, without its brackets."""
    return f"IPv6:{peer}" if ":" in peer else peer


def _beginning(header: bytes, start: int) -> bytes:
    """The octets from `start` that are read, without an incomplete UTF-8 character at their end."""
    end = start + _SUBJECT_OCTETS
    if end >= len(header):
        return header[start:]
    for _ in range(3):
        if b"\x80" <= header[end : end + 1] < b"\xc0":  # not the first octet of a character
            end -= 1
    return header[start:end]


def _readable(octets: bytes) -> str:
    """The header value that these octets begin with, as a person would read it: unfolded, decoded, no controls."""
    text = encoded_words.decode(_first_value(octets)).strip()  # some tools encode a line end, too
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)[:SUBJECT_LIMIT]


def _first_value(octets: bytes) -> bytes:
    """The header value that these octets begin with, unfolded."""
    return _FOLD.sub(b"", _LINE_END.split(octets, maxsplit=1)[0]).strip()
