"""The AWS edge as an ASGI application: who calls, what is asked, is it done, what is the answer."""

import random
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from waypost import events
from waypost.api import operations, protocol, shapes, signing
from waypost.api.errors import ApiError, internal, translate, unavailable
from waypost.api.http import OCTETS, Request, Response
from waypost.app import ports
from waypost.domain.access_keys import AccessKey
from waypost.domain.errors import WaypostError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SERVICE = "connect"

CONTENT_TYPE = (b"content-type", b"application/json")

BODY_LIMIT = 1024 * 1024
"""Octets of a request body; the largest valid request here has a few dozen thousand."""


class Api:
    """The ASGI application. One instance serves all requests."""

    def __init__(
        self,
        store: ports.Store,
        *,
        access_keys: Callable[[str], AccessKey | None],
        clock: ports.Clock,
        emit: events.Emit,
    ) -> None:
        self._store = store
        self._access_keys = access_keys
        self._clock = clock
        self._emit = emit
        self._protocol = protocol.Protocol(shapes.load())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_id = _request_id()
        try:
            response = await self._answer(await _read(scope, receive))
        except ApiError as error:
            response = protocol.serialise_error(error, modelled=False)
        except ports.StoreUnavailable as error:
            self._emit(events.StoreFailed(where="api", id=request_id, cause=error))
            response = protocol.serialise_error(unavailable(), modelled=False)
        except Exception as error:  # noqa: BLE001 - the one boundary: whatever it was, the caller learns nothing of it
            self._emit(events.Failed(where="api", id=request_id, cause=error))
            response = protocol.serialise_error(internal(), modelled=True)
        await _send(send, response, request_id)

    async def _answer(self, request: Request) -> Response:
        """The pipeline: each line is a step, and any of them may refuse with an `ApiError`."""
        now = self._clock()
        tenant = signing.authenticate(request, access_keys=self._access_keys, service=SERVICE, now=now)
        match = self._protocol.route(request)
        try:
            members = self._protocol.parse(match, request)
            call = operations.Call(match.operation.name, tenant, members, now, _resource_id)
            output = await self._perform(call)
            return protocol.serialise(match.operation, output)
        except WaypostError as error:
            return protocol.serialise_error(translate(error, match.operation.errors), modelled=True)
        except ApiError as error:
            return protocol.serialise_error(error, modelled=True)

    async def _perform(self, call: operations.Call) -> operations.Output:
        """Run the operation in a transaction of its kind. When a write returns, it is on disk."""
        match operations.OPERATIONS.get(call.operation):
            case operations.Read(read):
                return await self._store.read(lambda tx: read(tx, call))
            case operations.Write(write):
                return await self._store.write(lambda tx: write(tx, call))
            case None:
                raise protocol.invalid_request(f"{call.operation} is not implemented in this version of Waypost yet.")


async def _read(scope: Scope, receive: Receive) -> Request:
    """The whole request. Raises `ApiError` RequestEntityTooLargeException before the body grows too large."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise ApiError(
                "RequestEntityTooLargeException", 413, f"The request body is larger than {BODY_LIMIT} octets."
            )
        if not message.get("more_body", False):
            break
    return Request(
        method=scope["method"],
        raw_path=scope["raw_path"].decode(*OCTETS),
        query=scope["query_string"].decode(*OCTETS),
        headers=tuple([(name.decode("latin-1"), value.decode(*OCTETS)) for name, value in scope["headers"]]),
        body=body,
    )


def _resource_id() -> str:
    return str(uuid.uuid4())


def _request_id() -> str:
    """A UUID that nobody could mistake for another's; unlike a resource's id it need not be hard to guess."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


async def _send(send: Send, response: Response, request_id: str) -> None:
    headers = [
        CONTENT_TYPE,
        (b"content-length", b"%d" % len(response.body)),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    if response.error_type:
        headers.append((b"x-amzn-errortype", response.error_type.encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
