"""Deliver mail by HTTP POST. The body of each request is a multipart form that contains the metadata as JSON, and the
message. Each request is signed.

`docs/how-to/webhooks.md` describes the requests that a receiver gets. Each attempt at a delivery sends the same body,
with a new timestamp and a new signature.
"""

import asyncio
import hmac
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from waypost import __version__
from waypost.delivery.outgoing import Parcel
from waypost.delivery.public_addresses import is_public
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.routes import Route, shown, without_secrets

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import StreamReader
    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler

SAID_LIMIT = 64 * 1024
"""The maximum number of bytes of a receiver's response that are read. Waypost closes the connection after it has read
`SAID_LIMIT` bytes of a response. If the received bytes contain the HTTP status, that status determines the result.
"""

ANSWER_LIMIT = 4 * 1024
"""The maximum number of bytes of a response's body that are read. The result contains only the body's first line."""

TEXT_LIMIT = 200
"""The maximum number of characters in a result's text. The text can contain, for example, the response's reason phrase
and the first line of its body.
"""

KEPT_OPEN = 4.0
"""Seconds for which an idle connection is kept open for the next delivery.

This time is shorter than the idle timeout of most servers, so that a server rarely closes the connection just as a
request is sent.
"""

_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Timeouts(Struct, frozen=True, kw_only=True):
    """The time limits of an attempt, in seconds."""

    connect: float = 30.0
    """Seconds to resolve the host, connect and complete the TLS handshake."""
    part: float = 180.0
    """Seconds within which the receiver must read the next part of the message."""
    answer: float = 60.0
    """Seconds after the end of the request within which the whole response must arrive."""


class Forbidden(OSError):
    """Raised for an address that is not public. The address is skipped, like an unreachable address, if the host has
    further addresses.
    """


class WebhookTransport:
    """Sends parcels to webhooks. Redirects are not followed; they are treated like any other response."""

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: "AbstractResolver | None" = None,
    ) -> None:
        """`tls` contains the trusted certificate authorities, and `resolver` resolves host names. The defaults are the
        system's certificate authorities and resolver.
        """
        self._timeouts = timeouts or Timeouts()
        self._tls = tls
        self._resolver = resolver
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Send the parcel once, and read the response."""
        form = _Form(parcel, route.secret)
        progress = _Progress(form, self._timeouts)
        try:
            progress.headers = await form.signed_headers(now=int(time.time()))  # the receiver uses the real time, too
            async with progress.limit:
                await self._post(progress, route)
        except Exception as error:  # noqa: BLE001 - any error only makes this attempt fail
            if progress.code is None:
                return _result(route, *_describe_failure(progress, error))
        said = ": ".join(filter(None, (progress.reason, _first_line(progress.answer))))
        return _result(route, progress.stage, None, said, code=progress.code)

    async def close(self) -> None:
        """Close the connections that are kept open for later parcels."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    async def _post(self, progress: "_Progress", route: Route) -> None:
        progress.wait(self._timeouts.connect)
        session = self._session(is_private_allowed=route.allow_private)
        response = await session.post(route.to, data=progress.octets(), headers=progress.headers, allow_redirects=False)
        try:
            progress.code, progress.reason = response.status, response.reason or ""
            while part := await response.content.read(ANSWER_LIMIT - len(progress.answer)):
                progress.answer += part
        finally:
            response.close()  # keeps the connection open if the response is complete

    def _session(self, *, is_private_allowed: bool) -> "aiohttp.ClientSession":
        """Return the HTTP session that is shared by all routes with the same `allow_private` setting.

        The sessions are separate, so that a connection to a private address is never used by a route that forbids
        private addresses.
        """
        if is_private_allowed not in self._sessions:
            import aiohttp  # noqa: PLC0415 - it takes memory, and few routes need it

            connector = aiohttp.TCPConnector(
                limit=0,  # the queue limits the number of attempts, and so of connections
                keepalive_timeout=KEPT_OPEN,
                resolver=self._resolver or aiohttp.ThreadedResolver(),
                socket_factory=None if is_private_allowed else _public_socket,
                ssl=self._tls or ssl.create_default_context(),
            )
            connector._factory = partial(_bounded(), loop=asyncio.get_running_loop())  # noqa: SLF001 - test_library_internals
            self._sessions[is_private_allowed] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=ANSWER_LIMIT,
                timeout=aiohttp.ClientTimeout(),  # no timeouts of its own
                headers={"User-Agent": f"Waypost/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"},
                trust_env=False,  # a proxy would also connect to addresses that the route forbids
            )
        return self._sessions[is_private_allowed]


_END_OF_HEAD = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/[0-9.]+ 1(?!01)[0-9][0-9]")
"""Matches the status line of an interim response (RFC 9110 section 15.2). An interim response is followed by another
response.
"""


class _Heads:
    """Finds the end of each response's headers, both in interim responses and in the final response."""

    def __init__(self) -> None:
        self._head = bytearray()
        self.is_over = False
        """Whether the final response's headers are complete, so that all further bytes belong to its body."""

    def cut(self, octets: bytes) -> tuple[bytes, bytes]:
        """Split `octets` into the bytes up to the end of the headers, and the remaining bytes."""
        before = len(self._head)
        self._head += octets
        end = _END_OF_HEAD.search(self._head, max(0, before - 2))
        if end is None:
            return octets, b""
        self.is_over = _INTERIM.match(self._head) is None
        self._head.clear()
        size = end.end() - before
        return octets[:size], octets[size:]


@lru_cache(maxsize=1)
def _bounded() -> "type[ResponseHandler]":
    """Return a connection class that reads at most `SAID_LIMIT` bytes of a response.

    If a single read contains the headers of a response and also malformed data, for example in a chunked body,
    aiohttp's parser discards the whole response. Therefore, the parser gets the headers of each response separately.
    The number of interim responses is unlimited, but the bytes of these responses count towards `SAID_LIMIT`.

    If bytes follow a complete response, the connection is closed. If the connection were kept open, aiohttp would read
    the extra bytes as the response to the next request.
    """
    from aiohttp.client_proto import ResponseHandler  # noqa: PLC0415 - as above

    class Bounded(ResponseHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.said, self.heads = 0, _Heads()

        def set_response_params(self, **parameters: Any) -> None:
            self.said, self.heads = 0, _Heads()
            limits = parameters.keys() & {"max_line_size", "max_field_size", "max_headers"}
            super().set_response_params(**parameters | dict.fromkeys(limits, SAID_LIMIT))

        def data_received(self, data: bytes) -> None:
            if data and self.heads.is_over and _is_complete(self._payload):
                _end(self)
                return
            is_too_much = len(data) > SAID_LIMIT - self.said
            rest = data[: SAID_LIMIT - self.said]
            self.said += len(rest)
            while rest and not self.heads.is_over:
                head, rest = self.heads.cut(rest)
                super().data_received(head)
            answers = len(self._buffer)
            if rest or not data:  # if there is no data, aiohttp parses the data that it has buffered
                super().data_received(rest)
            if is_too_much or len(self._buffer) > answers:
                _end(self)

        def connection_lost(self, exc: BaseException | None) -> None:
            payload = self._payload
            super().connection_lost(exc)
            _end_incomplete(payload)

    return Bounded


def _is_complete(payload: "StreamReader | None") -> bool:
    """Whether the whole body of a response has arrived."""
    return payload is not None and payload.is_eof()


def _end(connection: "ResponseHandler") -> None:
    """Close the connection, but keep the part of the response that was read."""
    connection.force_close()
    if connection.transport:
        connection.transport.abort()


def _end_incomplete(payload: "StreamReader | None") -> None:
    """Mark a body as incomplete when the connection is lost, because aiohttp does not mark it after a parse error."""
    if payload is not None and not payload.is_eof() and payload.exception() is None:
        payload.set_exception(ConnectionError("the connection was lost before the response was complete"))


def _public_socket(
    found: tuple[socket.AddressFamily | int, socket.SocketKind | int, int, str, tuple[Any, ...]],
) -> socket.socket:
    """Return a socket for a connection to an address. Raises `Forbidden` if the address is not public.

    The address is checked here, immediately before the connection is made, so that a host name that resolves
    differently each time cannot bypass the check.
    """
    family, kind, protocol, _, address = found
    if not is_public(address[0]):
        raise Forbidden("The host has a private address, and the route does not allow private addresses")
    return socket.socket(family, kind, protocol)


class _Progress(Struct):
    """The progress of an attempt: its stage, the deadline for its next step, and the part of the response that has
    arrived.
    """

    form: "_Form"
    timeouts: Timeouts
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    headers: dict[str, str] = field(default_factory=dict)
    """The headers of the request; empty until the message has been read and signed."""
    stage: Stage = Stage.CONNECT
    error: Exception | None = None
    """The error that occurred while the stored message was being read, if any."""
    code: int | None = None
    """The HTTP status of the response. The status determines the result, even if the rest of the response is never
    received.
    """
    reason: str = ""
    answer: bytes = b""
    """The beginning of the response's body."""

    def wait(self, seconds: float) -> None:
        """Set the deadline for the next step, in seconds from now."""
        self.limit.reschedule(asyncio.get_running_loop().time() + seconds)

    async def octets(self) -> AsyncIterator[bytes]:
        """Yield the form in parts, as fast as the connection accepts them."""
        self.stage = Stage.BODY
        try:
            async for part in self.form.all_but_the_end():
                self.wait(self.timeouts.part)
                yield part
        except Exception as error:
            self.error = error
            raise
        self.stage = Stage.END  # set before the end is sent, because aiohttp does not report when the request is sent
        self.wait(self.timeouts.answer)
        yield self.form.end


class _Form:
    """The body of a request (RFC 7578). The boundary is derived from the secret, so that the author of a message cannot
    predict it.
    """

    def __init__(self, parcel: Parcel, secret: str) -> None:
        self._parcel = parcel
        self._secret = secret.encode()
        self._id = parcel.delivery.id
        self._boundary = hmac.digest(self._secret, b"boundary." + self._id.encode(), sha256).hex()
        self._start = (
            f"--{self._boundary}\r\n"
            'Content-Disposition: form-data; name="metadata"\r\n'
            "Content-Type: application/json\r\n\r\n"
            f"{json.dumps(_metadata(parcel))}\r\n"
            f"--{self._boundary}\r\n"
            'Content-Disposition: form-data; name="message"; filename="message.eml"\r\n'
            "Content-Type: message/rfc822\r\n\r\n"
        ).encode() + parcel.header
        self.end = f"\r\n--{self._boundary}--\r\n".encode()

    async def all_but_the_end(self) -> AsyncIterator[bytes]:
        """Yield the whole form except its last line, part by part."""
        yield self._start
        size = 0
        async with self._parcel.reading() as parts:
            async for part in parts:
                size += len(part)
                yield part
        if size != self._parcel.message.size:
            raise ValueError(f"{size} bytes were read of a message of {self._parcel.message.size} bytes")

    async def signed_headers(self, now: int) -> dict[str, str]:
        """Return the headers that identify and sign the delivery. This method reads the whole message once."""
        mac = hmac.new(self._secret, f"{now}.".encode(), sha256)
        async for part in self.all_but_the_end():
            mac.update(part)
        mac.update(self.end)
        return {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(len(self._start) + self._parcel.message.size + len(self.end)),
            "Idempotency-Key": self._id,
            "Waypost-Timestamp": str(now),
            "Waypost-Signature": f"v1={mac.hexdigest()}",
            **({"traceparent": self._parcel.traceparent} if self._parcel.traceparent else {}),
        }


def _metadata(parcel: Parcel) -> dict[str, Any]:
    """Return the metadata of a delivery. The metadata is the same in each attempt."""
    delivery, message = parcel.delivery, parcel.message
    return {
        "delivery_id": delivery.id,
        "message_id": message.id,
        "address": delivery.address.text,
        "sent_to": delivery.sent_to,
        "via": delivery.via,
        "reason": delivery.reason,
        "from": message.envelope.sender,
        "received_at": message.received_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "size": parcel.size,
        "subject": message.subject,
    }


def _first_line(answer: bytes) -> str:
    return answer.decode("utf-8", "replace").strip().partition("\n")[0]


def _describe_failure(progress: _Progress, error: Exception) -> tuple[Stage, Trouble, str]:
    import aiohttp  # noqa: PLC0415 - as above

    stage, words = progress.stage, str(error) or type(error).__name__
    failed = progress.error or (None if progress.headers else error)
    if failed:
        return stage, Trouble.FAILED, f"{type(failed).__name__}: {failed}"
    if isinstance(error, TimeoutError):
        return stage, Trouble.TIMEOUT, ""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return Stage.TLS, Trouble.BAD_TLS, words
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return stage, Trouble.NO_SUCH_HOST if error.os_error.errno in _NO_SUCH_NAME else Trouble.DNS_FAILED, words
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, Forbidden):
        return stage, Trouble.FORBIDDEN, str(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return stage, Trouble.UNREACHABLE, words
    if isinstance(error, aiohttp.ClientResponseError):
        return stage, Trouble.GARBAGE, error.message or type(error).__name__  # str(error) contains the URL
    if isinstance(error, aiohttp.ClientConnectionError):
        return stage, Trouble.DISCONNECTED, words
    return stage, Trouble.FAILED, f"{type(error).__name__}: {words}"


def _readable(text: str) -> str:
    """Make text from a receiver safe for display, as one short line without control characters."""
    line = " ".join(text.split())[:TEXT_LIMIT]
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def _result(route: Route, stage: Stage, trouble: Trouble | None, text: str, code: int | None = None) -> AttemptResult:
    said = _readable(without_secrets(text, route.to))  # the receiver's or aiohttp's text may contain the URL
    return AttemptResult(
        protocol=Protocol.WEBHOOK, stage=stage, peer=shown(route.to), code=code, trouble=trouble, text=said
    )
