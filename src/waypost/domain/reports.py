"""What others tell us: the bounces of other servers (RFC 3464, 6522, 6533), and which way a message has come.

All of it is written by strangers, and may be any octets.
"""

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from waypost.domain.discretion import one_line
from waypost.domain.messages import MAX_RECEIVED_LINES, end_of_header
from waypost.domain.notices import STATUS, Action

_REPORT_LIMIT = 256 * 1024
"""Octets of a bounce that are looked at."""
_FIELD_LIMIT = 4_000
"""Octets of one field that are looked at."""

_STATUS_PART = re.compile(rb"\ncontent-type[ \t]*:[ \t\r\n]*message/(?:global-)?delivery-status", re.IGNORECASE)
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_BY = re.compile(r"(?:\A|\s)by\s+([^\s;]+)", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")
_VALUE_END = re.compile(rb"\r?\n(?![ \t])")
_NOT_IN_NAME = re.compile(r"[^\w.:\[\]-]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a bounce says of the first recipient that it tells of. Whatever is missing is empty."""

    final_recipient: str
    action: str
    status: str
    diagnostic: str


def is_report(header: bytes) -> bool:
    """Whether a message says of itself that it is a report (RFC 6522), whoever its sender is."""
    return next(_fields(header, b"content-type"), "").lower().startswith("multipart/report")


def read_report(octets: bytes) -> Report | None:
    """What a bounce says; None if it is none that a program can read. Never fails: a bounce may be any octets."""
    octets = octets[:_REPORT_LIMIT]
    found = _STATUS_PART.search(octets)
    if found is None or not is_report(octets[: end_of_header(octets)]):
        return None
    start = octets.rfind(b"\n--", 0, found.start() + 1) + 1
    head, _, rest = octets[start:].partition(b"\r\n\r\n")
    fields = _decoded(rest.partition(b"\r\n--")[0], next(_fields(head, b"content-transfer-encoding"), "").lower())
    for group in _EMPTY_LINE.split(fields.decode("utf-8", "replace").replace("\r\n", "\n")):
        values = {name: next(_fields(group.encode(), name), "") for name in _OF_RECIPIENT}
        if any(values.values()):
            recipient, action, status, diagnostic = values.values()
            return Report(
                final_recipient=one_line(recipient.rpartition(";")[2]),
                action=one_line(action.lower()) if action.lower() in set(Action) else "",
                status=one_line(status) if STATUS.fullmatch(status) else "",
                diagnostic=one_line(diagnostic.partition(";")[2] or diagnostic),
            )
    return None


_OF_RECIPIENT = (b"final-recipient", b"action", b"status", b"diagnostic-code")


def _decoded(octets: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return binascii.a2b_qp(octets)
    if encoding == "base64":
        with suppress(binascii.Error):
            return binascii.a2b_base64(octets)
    return octets


def hops(header: bytes) -> list[str]:
    """Whom a message has passed, by what its Received lines say, the first one first. Of too many, the last."""
    fields = list(islice(_fields(header, b"received"), MAX_RECEIVED_LINES + 1))
    return [_by(field) for field in reversed(fields)]


def _by(received: str) -> str:
    for _ in range(3):  # comments may have comments in them
        received = _COMMENT.sub(" ", received)
    found = _BY.search(received)
    return _NOT_IN_NAME.sub("?", found[1][:255]) if found else "?"


def _fields(header: bytes, name: bytes) -> Iterator[str]:
    """The values of the fields of a name, unfolded, as they stand in the header: the last hop is the first."""
    for field in re.finditer(rb"(?:\A|\n)" + name + rb"[ \t]*:", header, re.IGNORECASE):
        octets = _VALUE_END.split(header[field.end() : field.end() + _FIELD_LIMIT], maxsplit=1)[0]
        yield " ".join(octets.decode("utf-8", "replace").split())
