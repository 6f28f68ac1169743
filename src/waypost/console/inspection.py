"""The inspection API: read what arrived, what happened to it, and what would happen. JSON over HTTP.

Every path but `/_waypost/health` and `/_waypost/ready` wants HTTP Basic with an access key id and its secret, whose
policy allows `waypost:Inspect`, and shows the mail of that key's account only.
"""

import asyncio
import base64
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeGuard

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router

import waypost
from waypost import events
from waypost.app import accept, access_keys, instances, ports, trace
from waypost.app.buckets import FailedSignatures
from waypost.domain import addresses, errors, moments
from waypost.domain.access_keys import AccessKey
from waypost.domain.delivery import Delivery
from waypost.domain.iam import decisions
from waypost.domain.iam.facts import Circumstances
from waypost.domain.instances import Tenant
from waypost.domain.messages import Message

Page = Callable[[Request], Awaitable[Response]]

PREFIX = "/_waypost"

ACTION = "waypost:Inspect"
"""What the IAM policy of an access key must allow, on the resource `*`, for all that is here."""

READY_SECONDS = 2.0
"""How long the store may take to show that it is there."""

PART = 1024 * 1024
"""Octets of a message that are read at once."""

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500


def application(store: ports.Store, *, failures: FailedSignatures, clock: ports.Clock, emit: events.Emit) -> Starlette:
    """The inspection API as an ASGI application."""
    inspection = _Inspection(store, failures, clock, emit)
    pages = {
        "/health": inspection.health,
        "/ready": inspection.ready,
        "/instance": inspection.instance,
        "/messages": inspection.messages,
        "/messages/{id}": inspection.message,
        "/messages/{id}/raw": inspection.raw,
        "/explain": inspection.explain,
    }
    routes = [Route(path, inspection.guarded(page)) for path, page in pages.items()]
    handlers: dict[Any, Any] = {HTTPException: _http_error}
    # No redirects: they would go wherever the Host header says.
    router = Router(routes=routes, redirect_slashes=False)
    return Starlette(routes=[Mount(PREFIX, app=router)], exception_handlers=handlers)


class _Inspection:
    """The pages, each a function of a request."""

    def __init__(self, store: ports.Store, failures: FailedSignatures, clock: ports.Clock, emit: events.Emit) -> None:
        self._store = store
        self._failures = failures
        self._clock = clock
        self._emit = emit

    async def health(self, _: Request) -> Response:
        """This process answers. It says nothing of the store."""
        return JSONResponse({"status": "ok", "version": waypost.__version__})

    async def ready(self, _: Request) -> Response:
        """Whether the store answers, so that calls and mail are worth sending here. No part of a caller's business."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._store.read(lambda tx: tx.has_instance_alias(""))
        except TimeoutError as error:
            raise ports.StoreUnavailable(f"the store did not answer in {READY_SECONDS:g} s") from error
        return JSONResponse({"status": "ready"})

    async def instance(self, request: Request) -> Response:
        """The account's oldest instance in a region, so that tools can be pointed at one."""
        tenant = Tenant(await self._account(request), request.query_params.get("region", ""))
        oldest = await self._store.search(partial(instances.oldest, tenant=tenant))
        return JSONResponse({"id": oldest.id if oldest else None})

    async def messages(self, request: Request) -> Response:
        """Deliveries of an address, newest first."""
        account = await self._account(request)
        address = _address(request)
        limit = _limit(request)
        after = request.query_params.get("after")
        found = await self._store.search(
            partial(trace.inbox, account=account, address=address, after=after, limit=limit)
        )
        return JSONResponse({"messages": [_delivery(delivery, message) for delivery, message in found]})

    async def message(self, request: Request) -> Response:
        """One message with its deliveries and its trace."""
        account = await self._account(request)
        message_id = request.path_params["id"]
        found = await self._store.search(partial(trace.message_details, account=account, message_id=message_id))
        return JSONResponse(_details(found))

    async def raw(self, request: Request) -> Response:
        """The exact bytes as delivered to an address."""
        account = await self._account(request)
        message_id = request.path_params["id"]
        copy = await self._store.search(
            partial(trace.copy, account=account, message_id=message_id, address=_address(request))
        )
        first = await self._octets(copy.message_id, start=0)
        headers = {
            "content-disposition": "attachment",
            "content-length": str(len(copy.trace_header) + copy.size),
        }
        return StreamingResponse(self._parts(copy, first), media_type="message/rfc822", headers=headers)

    async def explain(self, request: Request) -> Response:
        """What would happen to mail for an address, and why."""
        account = await self._account(request)
        found = await self._store.search(partial(accept.explain, account=account, address=_address(request)))
        return JSONResponse(_explanation(found))

    async def _parts(self, copy: trace.Copy, first: bytes) -> AsyncIterator[bytes]:
        """A copy, part by part: a slow reader holds one part in memory, and nothing of the store."""
        yield copy.trace_header + first
        for start in range(PART, copy.size, PART):
            try:
                part = await self._octets(copy.message_id, start=start)
            except Exception as error:  # noqa: BLE001 - as in `guarded`, but for the answer, which is under way
                self._told(error, str(uuid.uuid4()))
                raise events.AlreadyTold from None
            yield part

    async def _octets(self, message_id: str, *, start: int) -> bytes:
        return await self._store.search(lambda tx: tx.octets(message_id, start=start, limit=PART))

    def guarded(self, page: Page) -> Page:
        """The page inside the one error boundary of this edge: of a failure of ours the caller learns but an id."""

        async def answer(request: Request) -> Response:
            failure_id = str(uuid.uuid4())
            try:
                return await page(request)
            except HTTPException:
                raise
            except errors.Invalid as error:
                return _error(400, error.message)
            except errors.NotFound as error:
                return _error(404, error.message)
            except Exception as error:  # noqa: BLE001 - whatever it was
                self._told(error, failure_id)
                if isinstance(error, ports.StoreUnavailable):
                    return _error(503, f"The store is not available (id {failure_id}); please try again.")
                return _error(500, f"Something went wrong on our side (id {failure_id}).")

        return answer

    def _told(self, error: Exception, failure_id: str) -> None:
        kind = events.StoreFailed if isinstance(error, ports.StoreUnavailable) else events.Failed
        self._emit(kind(where="inspection", id=failure_id, cause=error))

    async def _account(self, request: Request) -> str:
        """The account of the access key that the request shows, which must be allowed to read mail."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            shown = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except ValueError:  # no base64, or no text
            shown = ""
        key_id, _, secret = shown.partition(":")
        key = await self._store.read(partial(access_keys.find, access_key_id=key_id))
        if not _is_good(key, secret):
            await asyncio.sleep(self._failures.delay(_source(request), self._clock()))
            raise HTTPException(
                401,
                "This needs HTTP Basic: the id and the secret of an active access key, as in the credentials file.",
                headers={"www-authenticate": 'Basic realm="waypost", charset="UTF-8"'},
            )
        if not self._may_inspect(key, request):
            raise HTTPException(403, f"The policy of access key {key_id} does not allow {ACTION}.")
        return key.account

    def _may_inspect(self, key: AccessKey, request: Request) -> bool:
        """Whether the key's policy allows it, in the circumstances of the request."""
        circumstances = Circumstances(
            key=key,
            tenant=Tenant(key.account, region=""),  # mail is in no region, whatever a caller names
            ip=_source(request),
            is_secure=request.url.scheme == "https",
            user_agent=request.headers.get("user-agent", ""),
            now=self._clock(),
        )
        decision = decisions.decide(key.policy, action=ACTION, resource="*", lookup=circumstances.look_up)
        return decision is decisions.Decision.ALLOWED


def _source(request: Request) -> str:
    """The IP address that a request comes from."""
    return request.client.host if request.client else ""


def _is_good(key: AccessKey | None, secret: str) -> TypeGuard[AccessKey]:
    """Whether this is the secret of a key that may be used. One that needs a session token cannot be, here."""
    return key is not None and key.active and key.has_session_token(None) and key.has_secret(secret)


def _address(request: Request) -> addresses.Address:
    text = request.query_params.get("address")
    if not text:
        raise errors.Invalid("Say which address, as ?address=…")
    try:
        return addresses.parse(text)
    except errors.Invalid as error:
        raise errors.Invalid(f"{text!r} is not an address: {error.message}.") from error


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE_SIZE))
    limit = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise errors.Invalid(f"limit must be a number from 1 to {MAX_PAGE_SIZE}.")
    return limit


def _delivery(delivery: Delivery, message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "received_at": moments.iso8601(message.received_at),
        "from": message.envelope.sender,
        "to": delivery.sent_to,
        "subject": message.subject,
        "size": message.size,
        "reason": delivery.reason.value,
        "via": delivery.via,
        "status": delivery.status.value,
    }


def _details(found: trace.MessageDetails) -> dict[str, Any]:
    message = found.message
    return {
        "id": message.id,
        "received_at": moments.iso8601(message.received_at),
        "from": message.envelope.sender,
        "subject": message.subject,
        "size": message.size,
        "peer": message.envelope.peer,
        "helo": message.envelope.helo,
        "protocol": message.envelope.protocol,
        "tls": message.envelope.tls or None,
        "authentication_results": list(found.authentication_results),
        "deliveries": [
            {
                "address": delivery.address.text,
                "email_address_id": delivery.email_address_id,
                "to": delivery.sent_to,
                "reason": delivery.reason.value,
                "via": delivery.via,
                "status": delivery.status.value,
            }
            for delivery in found.deliveries
        ],
        "trace": [{"at": moments.iso8601(event.at), "event": event.kind, **event.detail} for event in found.events],
    }


def _explanation(found: accept.Explanation) -> dict[str, Any]:
    deliveries = [
        {
            "address": destination.email_address.address.text,
            "email_address_id": destination.email_address.id,
            "reason": destination.reason.value,
            "via": destination.alias.address.text if destination.alias else None,
        }
        for destination in (found.plan.destinations if found.plan else ())
    ]
    return {
        "address": found.address.text,
        "accepted": found.plan is not None,
        "deliveries": deliveries,
        "because": found.because,
    }


def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # pragma: no cover - Starlette calls this for nothing else
        raise error
    return _error(error.status_code, error.detail, headers=error.headers)


def _error(status: int, message: str, *, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
