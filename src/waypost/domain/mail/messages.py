"""The message: its envelope, its id, the values that are read from its header, and the trace header.

The raw bytes are stored as the client sent them after DATA and are never rewritten, so the author's DKIM signature
stays valid. A copy in a mailbox consists of the trace header and the raw bytes.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from itertools import islice

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import encoded_words

HEADER_LIMIT = 256 * 1024
"""The maximum length of a header, in bytes."""

AFTER_ALL_IDS = "~"
"""A string that sorts after every id."""

MAX_RECEIVED_LINES = 100
"""The maximum number of `Received` lines. A message with more `Received` lines is treated as a mail loop.

RFC 5321 section 6.3 requires a limit of "normally at least 100".
"""

SUBJECT_LIMIT = 998
"""The maximum length of a subject in a list of messages, in characters. The message itself keeps its full subject."""

_SUBJECT_OCTETS = 12 * SUBJECT_LIMIT
"""The maximum number of bytes to read from the subject.

Without a limit, it would be expensive to decode a subject of several megabytes. The limit is 12 bytes for each
character, because a Chinese character takes 9 bytes in an encoded word, and the encoded word itself adds overhead.
"""

_LOOP_HEADER = "X-Waypost-Loop"
_DELIVERY_HEADER = "X-Waypost-Delivery"

HEADER_ID_LIMIT = 998
"""The maximum length of a Message-ID, in characters.

A longer Message-ID is ignored, because it exceeds the maximum length of a line.
"""

_RECEIVED = re.compile(rb"\r\nreceived[ \t]*:", re.IGNORECASE)
_SUBJECT = re.compile(rb"\r\nsubject[ \t]*:", re.IGNORECASE)
_HEADER_ID = re.compile(rb"\r\nmessage-id[ \t]*:", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"<([^<>]*)>")
_COMMENT = re.compile(r"\([^()]*\)")
_LINE_END = re.compile(rb"\r\n(?![ \t])")
_LOOP_TOKEN = re.compile(rb"\r\nx-waypost-loop[ \t]*:[ \t]*([^\r]*)", re.IGNORECASE)
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, characters that change the direction of text, and unpaired surrogates.

Unpaired surrogates can occur, because the decoders of some charsets produce them.
"""

_NOT_IN_NAME = re.compile(r"[^\w.:\[\]-]", re.ASCII)


class RecipientDsn(Struct, frozen=True):
    """The DSN parameters of RCPT TO: the notices that the sender requested for one recipient (RFC 3461 section 4)."""

    notify: tuple[str, ...] = ()
    """The NOTIFY values: NEVER, or a subset of SUCCESS, FAILURE and DELAY; empty if the client did not give NOTIFY."""
    orcpt: str = ""
    """The original recipient as `type;address`, decoded from xtext; empty if the client did not give ORCPT."""


NO_RECIPIENT_DSN = RecipientDsn()
"""The `RecipientDsn` of a recipient without DSN parameters."""


class Dsn(Struct, frozen=True):
    """The DSN parameters of a message and its recipients (RFC 3461 section 4)."""

    ret: str = ""
    """The RET value: FULL to return the whole message in notices, HDRS to return only its header; empty if the client
    did not give RET.
    """
    envid: str = ""
    """The sender's identifier for the message, from the ENVID parameter, decoded from xtext."""
    recipients: tuple[RecipientDsn, ...] = ()
    """The DSN parameters for each recipient, in the order of the envelope; empty if no recipient has DSN parameters."""


NO_DSN = Dsn()
"""The `Dsn` of a message without DSN parameters, which is the usual case."""


class Envelope(Struct, frozen=True, kw_only=True):
    """The SMTP envelope of a message."""

    sender: str
    """The address in MAIL FROM, without the angle brackets; empty for the null sender `<>`."""
    recipients: tuple[str, ...]
    """The address in each accepted RCPT TO, without the angle brackets, exactly as the sender wrote it."""
    helo: str
    peer: str
    """The client's IP address."""
    protocol: str
    """The protocol in the `with` clause of the Received line: SMTP, ESMTPS, UTF8LMTP and so on (RFC 3848, RFC 6531)."""
    body: str = "7BIT"
    """The body type, with the same values as the BODY parameter: 7BIT, 8BITMIME (RFC 6152) or BINARYMIME (RFC 3030).

    The server determines the type from the bytes of the message, and ignores the type that the client declared.
    """
    tls: str = ""
    """The TLS version and cipher of the connection, as in `TLSv1.3 TLS_AES_256_GCM_SHA384`; empty if the connection did
    not use TLS.
    """
    dsn: Dsn = NO_DSN

    @property
    def declares_smtputf8(self) -> bool:
        """Whether the client declared SMTPUTF8 (RFC 6531). Some clients declare SMTPUTF8 for every message."""
        return self.protocol.startswith("UTF8")

    def wishes_for(self, recipient: str) -> RecipientDsn:
        """Return the DSN parameters for a recipient. The address must be written exactly as in RCPT TO."""
        if not self.dsn.recipients or recipient not in self.recipients:
            return NO_RECIPIENT_DSN
        return self.dsn.recipients[self.recipients.index(recipient)]

    def wishes(self) -> dict[str, RecipientDsn]:
        """Return the DSN parameters of each recipient; empty if no recipient has DSN parameters."""
        given = self.dsn.recipients
        return dict(zip(reversed(self.recipients), reversed(given), strict=True)) if given else {}


class Message(Struct, frozen=True, kw_only=True):
    """One accepted SMTP transaction, without the bytes of the message. The 250 reply contains the id of the message."""

    id: str
    envelope: Envelope
    received_at: datetime
    size: int
    """The size of the raw message as the client sent it after DATA, in bytes."""
    subject: str
    header_id: str = ""
    """The value of the Message-ID field, without the angle brackets; empty if the message has no Message-ID."""
    is_authentic: bool = False
    """Whether the sender address is authentic, which means that a notice to it reaches the person who sent the message.

    SPF or DKIM can authenticate an address (see `domain.mailauth.vouching`). The server assumes that a sender address
    from a trusted client is authentic.
    """
    authserv_id: str = ""
    """The name that identifies this server in `Authentication-Results` fields.

    The name is empty if the message came from a trusted server.
    """


class HeaderFacts(Struct, frozen=True):
    """The values from a message's header that determine whether and how the message is accepted."""

    subject: str
    received_lines: int
    """The number of `Received` lines. Counting stops at `MAX_RECEIVED_LINES + 1`."""
    loop_tokens: tuple[str, ...]
    header_id: str = ""
    """The Message-ID, without the angle brackets."""


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time that an id can contain."""


def new_id(now: datetime, number: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562 section 5.7). The ids sort in the order in which the server began to receive the
    messages.

    `number` orders up to 4,096 ids within one millisecond (RFC 9562 section 6.2, method 1). `random` is 8 bytes from a
    cryptographically secure source.
    """
    milliseconds = round(now.timestamp() * 1000)
    version, variant = 0x7, 0x2
    value = milliseconds << 80 | version << 76 | (number & 0xFFF) << 64
    value |= variant << 62 | int.from_bytes(random) >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_id(moment: datetime) -> str:
    """Return an id that sorts before the ids of all messages that the server began to receive at or after a time.

    A time before 1970 counts as the beginning of 1970.
    """
    return new_id(max(moment, EPOCH), 0, bytes(8))


def time_of(message_id: str) -> datetime:
    """Return the time at which the server began to receive a message, which is a part of its id (`new_id`)."""
    return EPOCH + timedelta(milliseconds=int(message_id[:8] + message_id[9:13], 16))


def read_header(raw: bytes) -> HeaderFacts:
    """Read the header values that determine whether and how a message is accepted.

    The function accepts arbitrary bytes, even if they contain no header, and never raises an exception.
    """
    header = b"\r\n" + raw[: end_of_header(raw)]  # so that a line end precedes every line, including the first
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
    """Return the Message-ID from a field value, without angle brackets; empty if the Message-ID is missing or too long.

    A Message-ID without brackets or with spaces is accepted, although RFC 5322 section 3.6.4 does not allow it.
    Consecutive spaces are replaced with one space.
    """
    bracketed = _IN_BRACKETS.search(value)
    text = bracketed[1] if bracketed else _COMMENT.sub(" ", value).strip("<> \t")
    text = _NOT_TEXT.sub("", " ".join(text.split()))
    return text if len(text) <= HEADER_ID_LIMIT else ""


def end_of_header(raw: bytes | bytearray) -> int | None:
    """Return the offset at which the header ends, before the empty line; None if there is no empty line."""
    if raw.startswith(b"\r\n"):
        return 0
    end = raw.find(b"\r\n\r\n")
    return None if end < 0 else end + 2


@lru_cache(maxsize=10_000)
def loop_token(key: bytes, email_address_id: str) -> str:
    """Return the loop token of an email address. The result is cached, because each forwarded copy needs it.

    The token marks each copy that the email address forwards (as an alias) or that its route sends to another server.
    Only a server that knows `key` can create or verify the token.
    """
    return hmac.digest(key, b"loop:" + email_address_id.encode(), hashlib.sha256).hex()


def loop_tokens(keys: Iterable[bytes], email_address_ids: Sequence[str]) -> set[str]:
    """Return the loop tokens of email addresses with any of these keys."""
    return {loop_token(key, email_address_id) for key in keys for email_address_id in email_address_ids}


def refuse_loop(facts: HeaderFacts, *, ids: list[str], keys: Sequence[bytes]) -> None:
    """Raise `errors.MailLoop` if the message has too many hops, or was already forwarded for an email address in `ids`.

    `ids` are the ids of the email addresses that would forward the message: aliases, and email addresses with a route
    to another server. The error text never names the primary of an alias, because senders must not learn it.
    """
    if facts.received_lines > MAX_RECEIVED_LINES:
        raise errors.MailLoop(f"Too many hops: more than {MAX_RECEIVED_LINES} Received lines")
    if not facts.loop_tokens:
        return
    if loop_tokens(keys, ids).intersection(facts.loop_tokens):
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
    """Return the trace header (RFC 5321 section 4.4, RFC 9228) to prepend to the raw bytes of one copy of a message.

    Each line of the trace header ends in CRLF.

    `results` are the lines of the `Authentication-Results` field (RFC 8601). `tokens` mark a copy that leaves this
    server, so that the server recognizes the message if it comes back. `delivery_id` lets a receiver recognize a
    duplicate; it is empty for a copy that stays in the inbox.

    If a copy leaves this server, its trace header is ASCII if possible, because a peer without SMTPUTF8 accepts only
    ASCII. So domains are written as A-labels, and the `for` clause, which is optional (RFC 5321 section 4.4), is
    omitted if the local part of `sent_to` is not ASCII. If the local part of `delivered_to` is not ASCII either, the
    `for` clause is kept, because the copy needs SMTPUTF8 anyway.
    """
    envelope = message.envelope
    if delivery_id:
        delivered_to, sent_to = addresses.with_ascii_domain(delivered_to), addresses.with_ascii_domain(sent_to)
    is_for_omitted = bool(delivery_id) and delivered_to.isascii() and not sent_to.isascii()
    by = f"\tby {hostname} with {envelope.protocol}{_tls_comment(envelope.tls)}id {message.id}"
    date = _date(message.received_at.replace(microsecond=0))
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
    """Return the trace header without its Return-Path line, for a copy that is sent to another mail server.

    Only the server that makes the final delivery adds Return-Path (RFC 5321 section 4.4).
    """
    first, _, rest = trace_header.partition(b"\r\n")
    return rest if first.startswith(b"Return-Path:") else trace_header


@lru_cache(maxsize=64)
def _date(moment: datetime) -> str:
    """Return a date in the format of RFC 5322. `moment` is in whole seconds.

    The result is cached, because all messages that are received in one second have the same date.
    """
    return format_datetime(moment)


def _tls_comment(tls: str) -> str:
    """Return the comment about TLS for the Received line.

    RFC 8314 section 4.3 defines a clause for the cipher, but OpenSSL does not provide the cipher names that the clause
    requires.
    """
    return f" ({tls})\r\n\t" if tls else " "


def _address_literal(peer: str) -> str:
    """Return an IP address in the format of RFC 5321 section 4.1.3, without the brackets."""
    return f"IPv6:{peer}" if ":" in peer else peer


def _beginning(header: bytes, start: int) -> bytes:
    """Return up to `_SUBJECT_OCTETS` bytes from `start`, without an incomplete UTF-8 character at the end."""
    end = start + _SUBJECT_OCTETS
    if end >= len(header):
        return header[start:]
    for _ in range(3):
        if b"\x80" <= header[end : end + 1] < b"\xc0":  # not the first byte of a character
            end -= 1
    return header[start:end]


def _readable(octets: bytes) -> str:
    """Return the field value at the beginning of `octets` as readable text.

    The value is unfolded and decoded, and U+FFFD replaces control characters.
    """
    text = encoded_words.decode(_first_value(octets)).strip()  # some programs encode the line end, too
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)[:SUBJECT_LIMIT]


def _first_value(octets: bytes) -> bytes:
    """Return the field value at the beginning of `octets`, unfolded."""
    return _FOLD.sub(b"", _LINE_END.split(octets, maxsplit=1)[0]).strip()
