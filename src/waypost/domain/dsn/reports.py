"""What others tell us: the bounces of other servers (RFC 3464, 6522, 6533), and which way a message has come.

All of it is written by strangers, and may be any octets.
"""

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from waypost.domain.dsn.notices import STATUS, Action
from waypost.domain.dsn.redact import one_line
from waypost.domain.mail.messages import MAX_RECEIVED_LINES

_REPORT_LIMIT = 64 * 1024
"""Octets of a bounce that are looked at: those before the message that it gives back."""
_FIELD_LIMIT = 4_000
"""Octets of one field that are looked at."""
_RECEIVED_LIMIT = 1_000
"""Octets of one Received field that are looked at."""
_FEW_RECEIVED = 30
_SHORT_RECEIVED_LIMIT = 400
"""The same, of each of more than `_FEW_RECEIVED` fields: a hundred are read while others wait for the store."""
_STATUS_LIMIT = 16 * 1024
"""Octets of a delivery status that are looked at: fifty recipients, of which one that has failed is enough."""
_ENCODED_LIMIT = 4 * _STATUS_LIMIT
"""Octets that a delivery status may have in quoted-printable or base64 (three for one, and line ends)."""
_STATUSES_LIMIT = 2
"""Delivery statuses that are looked at. A bounce has one."""
_FIELDS_LIMIT = 400
"""Fields of recipients that are looked at: of a hundred recipients with short lines."""
_PARTS_LIMIT = 10
"""Parts of one multipart that are looked at. A bounce has three."""
_PARTS_IN_ALL = 100
"""Parts that are looked at, of all multiparts within each other."""
_DEPTH_LIMIT = 3
"""Multiparts and messages within each other that are looked into."""

PATH_LIMIT = 1_000
"""Characters of the names of a path that is kept: it is kept for each recipient, and the header is the sender's."""
EARLIER = "(earlier ones)"
"""Stands in a path for the hops that are left out."""

_BOUNDARY = re.compile(r'\bboundary ?= ?(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_DELIMITER = re.compile(rb"\n--[^\n]*")
_BLANK_LINE = re.compile(rb"\n[ \t]+(?=\n)")
_OF_RECIPIENT = re.compile(rb"\n(final-recipient|action|status|diagnostic-code)[ \t]*:", re.IGNORECASE)
_TYPE = re.compile(r"[\w.-]+ ?;", re.ASCII)
_BY = re.compile(r"(?:\A|\s)by\s+([^\s;]+)", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")
_VALUE_END = re.compile(rb"\r?\n(?![ \t])")
_NOT_IN_NAME = re.compile(r"[^\w.:\[\]-]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a bounce says of one recipient. Whatever is missing is empty."""

    final_recipient: str
    action: str
    """One of `Action`; empty for an unknown one."""
    status: str
    diagnostic: str


def is_report(header: bytes) -> bool:
    """Whether a message says of itself that it is a report (RFC 6522), whoever its sender is."""
    return next(_fields(header, b"content-type"), "").lower().startswith("multipart/report")


def read_report(octets: bytes) -> Report | None:
    """What a bounce says of the first recipient that failed, or of the first one if none did.

    None if no part of it is written for programs (RFC 3464): nothing is concluded from a text for people. Never fails:
    a bounce may be any octets.
    """
    first = None
    lines = octets[:_REPORT_LIMIT].replace(b"\r\n", b"\n")
    statuses = _statuses(lines, depth=_DEPTH_LIMIT, parts_left=iter(range(_PARTS_IN_ALL)))
    for status in islice(statuses, _STATUSES_LIMIT):
        for report in _recipients(status[:_STATUS_LIMIT]):
            if report.action == Action.FAILED:
                return report
            first = first or report
    return first


def _statuses(entity: bytes, *, depth: int, parts_left: Iterator[int], is_wrapper: bool = False) -> Iterator[bytes]:
    """The `message/delivery-status` parts of an entity, with lines that end in LF.

    RFC 6522 wants them in a `multipart/report`; some servers write `multipart/mixed`, and some filters pack a report
    into another multipart. A report in an attached message is about other mail than ours, but for one in a wrapper of
    a filter, which says `report-type=delivery-status`.
    """
    header, _, body = (b"", b"", entity) if entity.startswith(b"\n") else entity.partition(b"\n\n")
    kind = next(_fields(header, b"content-type"), "")
    media_type = kind.lower().partition(";")[0].strip()
    if media_type in {"message/delivery-status", "message/global-delivery-status"}:
        yield _decoded(body[:_ENCODED_LIMIT], next(_fields(header, b"content-transfer-encoding"), "").lower())
    elif depth and media_type == "message/rfc822" and is_wrapper:
        yield from _statuses(body, depth=depth - 1, parts_left=parts_left)
    elif depth and media_type.startswith("multipart/"):
        is_wrapper = media_type != "multipart/report" and "report-type=delivery-status" in kind.lower()
        named = _BOUNDARY.search(kind)
        parts = _parts(body, (named[1] or named[2]).encode() if named else b"")
        for part, _ in zip(parts, parts_left, strict=False):
            yield from _statuses(part, depth=depth - 1, parts_left=parts_left, is_wrapper=is_wrapper)


def _parts(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """The parts of a multipart (RFC 2046 section 5.1.1); the last one may lack its end.

    Where there is no such boundary, the first line that looks like one says what it is.
    """
    body = b"\n" + body + b"\n"
    delimiter = b"\n--" + boundary
    if not boundary or delimiter not in body:
        found = _DELIMITER.search(body)
        delimiter = found[0].rstrip() if found else delimiter
    start = at = 0
    for _ in range(_PARTS_LIMIT):
        at = body.find(delimiter, at)
        if at < 0:
            break
        line_end = body.find(b"\n", at + len(delimiter))
        rest = body[at + len(delimiter) : line_end].strip()
        if rest in {b"", b"--"}:  # else it is another boundary, which begins with this one
            if start:
                yield body[start:at]
            start = line_end + 1
        if rest == b"--":
            return
        at = line_end
    if start:
        yield body[start:]


def _decoded(octets: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return binascii.a2b_qp(octets)
    if encoding == "base64":
        with suppress(binascii.Error):
            return binascii.a2b_base64(octets)
    return octets


def _recipients(status: bytes) -> Iterator[Report]:
    """What the fields of a delivery status say, a group for each recipient. Fields of the message are left out."""
    lines = _BLANK_LINE.sub(b"\n", b"\n" + status.replace(b"\r\n", b"\n"))
    group: dict[bytes, str] = {}
    end = 0
    for field in islice(_OF_RECIPIENT.finditer(lines), _FIELDS_LIMIT):
        if group and lines.find(b"\n\n", end, field.start() + 1) >= 0:
            yield _report(group)
            group = {}
        end = field.end()
        group.setdefault(field[1].lower(), _value(lines, end))
    if group:
        yield _report(group)


def _report(group: dict[bytes, str]) -> Report:
    found = STATUS.match(group.get(b"status", ""))
    status = found[0] if found else ""
    is_permanent = status.startswith("5.")  # RFC 3463 section 3: a permanent failure
    return Report(
        final_recipient=one_line(_without_type(group.get(b"final-recipient", "")).strip("<>")),
        action=_action(group.get(b"action", Action.FAILED if is_permanent else "")),
        status=status,
        diagnostic=one_line(_without_type(group.get(b"diagnostic-code", ""))),
    )


def _without_type(value: str) -> str:
    """A value without its type, as in `rfc822; a@b.example` and `smtp; 550 No`. Senders forget the type."""
    found = _TYPE.match(value)
    return value[found.end() :].strip() if found else value


def _action(value: str) -> str:
    """The `Action` that a value means: it may have comments, and some servers have other words for two of them.

    What "expired" in a server's queue has failed (RFC 3464 section 2.3.3).
    """
    word, _, _ = _without_comments(value).strip().lower().partition(" ")
    if word.startswith(("fail", "error", "expired")):
        return Action.FAILED
    if word.startswith(("delay", "defer")):
        return Action.DELAYED
    return word if word in set(Action) else ""


def hops(header: bytes) -> list[str]:
    """Whom a message has passed, by what its Received lines say, the first one first. Of too many, the last."""
    are_few = header.lower().count(b"\nreceived") <= _FEW_RECEIVED
    limit = _RECEIVED_LIMIT if are_few else _SHORT_RECEIVED_LIMIT
    fields = list(islice(_fields(header, b"received", limit), MAX_RECEIVED_LINES + 1))
    return [_by(field) for field in reversed(fields)]


def path(header: bytes) -> list[str]:
    """The hops, of which only the last ones are given, with `EARLIER` before them, if all are too long to be kept."""
    names = hops(header)
    found, room = list[str](), PATH_LIMIT
    for name in reversed(names):
        room -= len(name)
        if room < 0:
            return [EARLIER, *reversed(found)]
        found.append(name)
    return names


def _by(received: str) -> str:
    found = _BY.search(_without_comments(received))
    return _NOT_IN_NAME.sub("?", found[1][:255]) if found else "?"


def _without_comments(value: str) -> str:
    found = value.count(")")
    for _ in range(3):  # comments may have comments in them
        if not found:
            break
        value, found = _COMMENT.subn(" ", value)
    return value


def _fields(header: bytes, name: bytes, limit: int = _FIELD_LIMIT) -> Iterator[str]:
    """The values of the fields of a name, unfolded, as they stand in the header: the last hop is the first."""
    lines = b"\n" + header  # an expression that begins with an octet is found four times as quickly
    for field in re.finditer(rb"\n" + name + rb"[ \t]*:", lines, re.IGNORECASE):
        yield _value(lines, field.end(), limit)


def _value(octets: bytes, start: int, limit: int = _FIELD_LIMIT) -> str:
    """The value of the field whose value begins at `start`, unfolded; `limit` octets of it are looked at."""
    value = _VALUE_END.split(octets[start : start + limit], maxsplit=1)[0]
    return " ".join(value.decode("utf-8", "replace").split())
