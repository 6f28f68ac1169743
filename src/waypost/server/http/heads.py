"""The heads of HTTP messages: the check that a request is valid HTTP, and the head of a response as AWS writes it."""

import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http import HTTPStatus

from waypost.api.wire.http import Response

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields in the order of the message. In requests, and in responses of ASGI applications, the names are in lower
case."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.]+\])(:[0-9]*)?")
"""The value of a Host field (RFC 9110 section 7.2): a host name or IP address, and optionally a port."""

_NOT_IN_A_NAME = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
"""The bytes that a field name must not contain (RFC 9110 section 5.6.2)."""

_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""The bytes that a field value must not contain (RFC 9110 section 5.5). A line end would begin another field."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

_SPELLINGS = {name.lower(): name for name in (b"Content-Type", b"Content-Length", b"Connection", b"Transfer-Encoding")}
"""The names that AWS does not write in lower case."""


def refusal(version: str, method: str, names: Sequence[bytes], values: Sequence[bytes]) -> tuple[int, str] | None:
    """Check that a request is valid HTTP. Return the status and text of the refusal, or None if the request is valid.

    `names` and `values` are those of the header fields; the names are in lower case.

    The parser has already refused every request that it cannot parse, such as a request with two body lengths.
    Source: RFC 9110 section 15.6.6 (version), RFC 9112 sections 3.2 (Host) and 6.1 (Transfer-Encoding).
    """
    hosts, codings = names.count(b"host"), names.count(b"transfer-encoding")
    host = values[names.index(b"host")] if hosts else b""
    is_connect = method == "CONNECT"
    if version == "1.1" and hosts == 1 and not codings and not is_connect and _HOST.fullmatch(host):  # common case
        return None
    if version not in ("1.1", "1.0"):
        return 505, f"This server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{version}."
    if hosts > 1:
        return 400, "The request has more than one Host header."
    if not hosts and version == "1.1":
        return 400, "The request has no Host header, which HTTP/1.1 requires."
    if not _HOST.fullmatch(host.strip(b" \t")):
        return 400, "The Host header is not a host name or an IP address, with or without a port."
    if is_connect:
        return 501, "This server is not a proxy, so it does not support the CONNECT method."
    if codings and version == "1.0":
        return 400, "The request has a Transfer-Encoding header, which HTTP/1.0 does not support."
    if codings > 1 or (codings and values[names.index(b"transfer-encoding")].strip(b" \t").lower() != b"chunked"):
        return 501, "The only transfer coding that this server supports is chunked."
    return None


def date() -> bytes:
    """Return the Date field of a response that is sent now (RFC 9110 section 6.6.1)."""
    return b"Date: %s\r\n" % formatdate(usegmt=True).encode()


def of_call(response: Response, *, date: bytes, request_id: str, keep_alive: bool) -> bytes:
    """Return the head of the response to a call, with the fields in the order of the example in the Amazon Connect API
    Reference.

    Raises `ValueError` if a header that carries a member of the output contains a byte that is not allowed there.
    """
    head = b"%b%bContent-Type: %b\r\nContent-Length: %d\r\n%bx-amzn-RequestId: %b\r\n" % (
        _STATUS_LINES[response.status],
        date,
        response.content_type,
        len(response.body),
        b"Connection: keep-alive\r\n" if keep_alive else b"",
        request_id.encode(),
    )
    if response.headers:
        head += _fields(response.headers)
    if response.error_type:
        head += b"x-amzn-ErrorType: %b\r\n" % response.error_type.encode()
    return head + (b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")


def of_asgi(status: int, headers: Iterable[tuple[bytes, bytes]], *, date: bytes) -> bytes:
    """Return the head of the response of an ASGI application. Raises `ValueError` for a field that is not allowed."""
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"%b%b%b\r\n" % (line, date, _fields(headers))


def refused(status: HTTPStatus, text: str) -> bytes:
    """Return the whole response to a request that the server refuses before it closes the connection."""
    body = f"{text}\n".encode()
    return b"%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n%b\r\n%b" % (
        _STATUS_LINES[status],
        len(body),
        b"Retry-After: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else b"",
        body,
    )


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    fields = []
    for name, value in headers:
        if not name or _NOT_IN_A_NAME.search(name) or _NOT_IN_A_VALUE.search(value):
            raise ValueError(f"the header field {name!r} has a byte that is not allowed")
        fields.append(b"%b: %b\r\n" % (_SPELLINGS.get(name, name), value))
    return b"".join(fields)
