"""Read bounces from other servers (RFC 3464, 6522, 6533), and the Received fields of a message.

The input comes from untrusted servers, so it may consist of arbitrary bytes.
"""

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from msgspec import Struct

from waypost.domain.dsn.notices import STATUS, Action
from waypost.domain.dsn.redact import one_line
from waypost.domain.mail.messages import MAX_RECEIVED_LINES

_REPORT_LIMIT = 64 * 1024
"""The maximum number of bytes to examine in a bounce.

The rest of a bounce can be ignored, because the delivery status comes before the returned message.
"""
_FIELD_LIMIT = 4_000
"""The maximum number of bytes to examine in one field."""
_RECEIVED_LIMIT = 1_000
"""The maximum number of bytes to examine in one Received field."""
_FEW_RECEIVED = 30
_SHORT_RECEIVED_LIMIT = 400
"""The maximum number of bytes to examine in each Received field if a message has more than `_FEW_RECEIVED` of them.

This limit is lower than `_RECEIVED_LIMIT`, because up to a hundred fields are read within one store transaction.
"""
_STATUS_LIMIT = 16 * 1024
"""The maximum number of bytes to examine in a delivery status. This limit is enough for fifty recipients."""
_ENCODED_LIMIT = 4 * _STATUS_LIMIT
"""The maximum length, in bytes, of a delivery status that is encoded as quoted-printable or base64.

The limit is four times `_STATUS_LIMIT`, because quoted-printable uses up to three bytes for each original byte, and
adds line breaks.
"""
_STATUSES_LIMIT = 2
"""The maximum number of delivery statuses to examine. A bounce normally contains only one delivery status."""
_FIELDS_LIMIT = 400
"""The maximum number of fields about recipients to examine in one delivery status.

This limit is enough for a hundred recipients with short fields.
"""
_PARTS_LIMIT = 10
"""The maximum number of parts to examine in one multipart. A bounce normally has three parts."""
_PARTS_IN_ALL = 100
"""The maximum total number of parts to examine in all nested multiparts."""
_DEPTH_LIMIT = 3
"""The maximum nesting depth of multiparts and messages to examine."""

PATH_LIMIT = 1_000
"""The maximum total length of the server names in a stored path, in characters.

The sender controls the header, and the path is stored for each recipient, so an unlimited path could use a lot of
space.
"""
EARLIER = "(earlier servers)"
"""The placeholder for the servers that are omitted from a path."""

_BOUNDARY = re.compile(r'\bboundary ?= ?(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_DELIMITER = re.compile(rb"\n--[^\n]*")
_BLANK_LINE = re.compile(rb"\n[ \t]+(?=\n)")
_OF_RECIPIENT = re.compile(rb"\n(final-recipient|action|status|diagnostic-code)[ \t]*:", re.IGNORECASE)
_TYPE = re.compile(r"[\w.-]+ ?;", re.ASCII)
_BY = re.compile(r"(?:\A|\s)by\s+([^\s;]+)", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")
_VALUE_END = re.compile(rb"\r?\n(?![ \t])")
_NOT_IN_NAME = re.compile(r"[^\w.:\[\]-]", re.ASCII)


class Report(Struct, frozen=True, kw_only=True):
    """The information about one recipient in a bounce. Values that are missing from the bounce are empty."""

    final_recipient: str
    action: str
    """The action as a value of `Action`; empty if the bounce gives no action or an unknown action.

    If the bounce gives no action, but its status code means a permanent failure, the value is `Action.FAILED`.
    """
    status: str
    diagnostic: str


def is_report(header: bytes) -> bool:
    """Return whether the header declares that the message is a report (RFC 6522), regardless of who sent it."""
    return next(_fields(header, b"content-type"), "").lower().startswith("multipart/report")


def read_report(octets: bytes) -> Report | None:
    """Return a bounce's report about the first recipient whose delivery failed. If no delivery failed, the report is
    about the first recipient.

    The result is None if the bounce has no machine-readable part (RFC 3464), because free text is never interpreted.
    The function accepts arbitrary bytes, and never raises an exception.
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
    """Yield the `message/delivery-status` parts of an entity whose lines end in LF.

    RFC 6522 requires a `message/delivery-status` part to be in a `multipart/report`. But some servers use
    `multipart/mixed`, and some filters wrap a report in another multipart. A report in an attached message is usually
    about other mail, so it is ignored. The exception is a bounce that a filter has wrapped in a multipart of its own.
    Such a filter writes `report-type=delivery-status` into the Content-Type field of the outer multipart.
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
    """Yield the parts of a multipart (RFC 2046 section 5.1.1). The closing boundary may be missing.

    If the declared boundary does not occur, the first line that looks like a boundary is used instead.
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
        if rest in {b"", b"--"}:  # otherwise this is a longer boundary that begins with the same characters
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
    """Yield a report for each recipient in a delivery status. The fields about the whole message are ignored."""
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
    """Remove the type from a field value, so that `rfc822; a@b.example` becomes `a@b.example`.

    Some servers omit the type.
    """
    found = _TYPE.match(value)
    return value[found.end() :].strip() if found else value


def _action(value: str) -> str:
    """Return the `Action` that a field value denotes, or an empty string if the value is unknown.

    The value may contain comments. Some servers use other words for "failed" and "delayed". Mail that "expired" in a
    server's queue has failed (RFC 3464 section 2.3.3).
    """
    word, _, _ = _without_comments(value).strip().lower().partition(" ")
    if word.startswith(("fail", "error", "expired")):
        return Action.FAILED
    if word.startswith(("delay", "defer")):
        return Action.DELAYED
    return word if word in set(Action) else ""


def hops(header: bytes) -> list[str]:
    """Return the servers that a message passed through, in order, according to its Received fields.

    If there are more than `MAX_RECEIVED_LINES + 1` servers, the earliest servers are omitted.
    """
    are_few = header.lower().count(b"\nreceived") <= _FEW_RECEIVED
    limit = _RECEIVED_LIMIT if are_few else _SHORT_RECEIVED_LIMIT
    fields = list(islice(_fields(header, b"received", limit), MAX_RECEIVED_LINES + 1))
    return [_by(field) for field in reversed(fields)]


def path(header: bytes) -> list[str]:
    """Return the same servers as `hops`, but limit the length of the list so that it can be stored.

    If the names are longer than `PATH_LIMIT` in total, `EARLIER` replaces the earliest servers.
    """
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
    for _ in range(3):  # comments may be nested
        if not found:
            break
        value, found = _COMMENT.subn(" ", value)
    return value


def _fields(header: bytes, name: bytes, limit: int = _FIELD_LIMIT) -> Iterator[str]:
    """Yield the unfolded values of all fields with the given name, in header order.

    The most recent Received field comes first, because each server adds its field at the top.
    """
    lines = b"\n" + header  # a regular expression that begins with a literal byte is four times as fast
    for field in re.finditer(rb"\n" + name + rb"[ \t]*:", lines, re.IGNORECASE):
        yield _value(lines, field.end(), limit)


def _value(octets: bytes, start: int, limit: int = _FIELD_LIMIT) -> str:
    """Return the unfolded field value that begins at `start`.

    Only the first `limit` bytes of the value are examined.
    """
    value = _VALUE_END.split(octets[start : start + limit], maxsplit=1)[0]
    return " ".join(value.decode("utf-8", "replace").split())
