"""The AWS edge as an ASGI application: who calls, what is asked, is it done, what is the answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from datetime import datetime
from typing import Any

from waypost.api.access import policy, sigv4
from waypost.api.access.throttle import Throttle
from waypost.api.errors import ApiError, internal, translate, unavailable
from waypost.api.operations import calls, searching, table
from waypost.api.wire import protocol, shapes
from waypost.api.wire.http import OCTETS, Request, Response
from waypost.app import ports
from waypost.app.directory import access_keys
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.directory.instances import Tenant
from waypost.domain.errors import WaypostError
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.limits.rates import Limits
from waypost.observe import events
from waypost.observe.incidents import Incidents

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SERVICE = "connect"

BODY_LIMIT = 256 * 1024
"""Octets of a request body; the largest valid request here has half of it, and each octet is read before anyone knows
whether the caller may ask at all."""


class Api:
    """The ASGI application. One instance serves all requests.

    `older_regions` are those of instances that there were before the server started. They are taken besides those that
    AWS publishes: servers of before took some that do not exist.
    """

    def __init__(
        self,
        store: ports.Store,
        *,
        terms: calls.Terms,
        limits: Limits,
        older_regions: Collection[str] = (),
        failures: FailedSignatures,
        clock: ports.Clock,
        emit: events.Emit,
    ) -> None:
        self._store = store
        self._terms = terms
        self._clock = clock
        self._incidents = Incidents(emit, of_store=STORE_FAILURES)
        self._protocol = protocol.Protocol(shapes.load())
        self._throttle = Throttle(limits)
        self._older_regions = frozenset(older_regions)
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_id = _request_id()
        form = protocol.form(scope["method"], scope["path"])
        try:
            response = await self._answer(await _read(scope, receive), _source(scope))
        except _ClientGone:
            return
        except _NotProven as error:
            # What is left of the request, its body too, need not wait in memory.
            error.__traceback__ = error.__context__ = None
            if error.delay:
                await asyncio.sleep(error.delay)
            response = protocol.serialise_error(error, modelled=False, form=form)
        except ApiError as error:
            response = protocol.serialise_error(error, modelled=False, form=form)
        except Exception as error:  # noqa: BLE001 - the one boundary: whatever it was, the caller learns nothing of it
            incident = self._incidents.report(error, where="api", incident_id=request_id)
            answer = unavailable(error) if incident.is_of_store else internal()
            response = protocol.serialise_error(answer, modelled=not incident.is_of_store, form=form)
        await _send(send, response, request_id)

    async def _answer(self, request: Request, source: calls.Source) -> Response:
        """The pipeline: each line is a step, and any of them may refuse with an `ApiError`."""
        now = self._clock()
        key, tenant = await self._authenticate(request, source, now)
        match = self._protocol.route(request)
        try:
            self._throttle.admit(tenant, match.operation.name, now)
            members = self._protocol.parse(match, request)
            operation = table.OPERATIONS[match.operation.name]
            members = operation.with_ids(members, tenant)
            call = calls.Call(match.operation.name, tenant, key, source, request, members, now, self._terms)
            output = await self._perform(operation, call)
            return protocol.serialise(match.operation, output, form=match.form)
        except WaypostError as error:
            return _refusal(translate(error, match.operation.errors), match)
        except ApiError as error:
            return _refusal(error, match)

    async def _authenticate(self, request: Request, source: calls.Source, now: datetime) -> tuple[AccessKey, Tenant]:
        """Who calls. Raises `_NotProven`: a source that fails again and again has to wait; see `buckets`."""
        try:
            claim = sigv4.claim(request, service=SERVICE, older_regions=self._older_regions)
            key = await self._store.read(lambda tx: access_keys.find(tx, claim.access_key_id))
            return sigv4.verify(request, claim, key, now=now)
        except ApiError as error:
            delay = self._failures.delay(source.ip, now)
            raise _NotProven(error.code, error.status, error.message, delay) from None

    async def _perform(self, operation: table.Operation, call: calls.Call) -> calls.Output:
        """Run a call in a transaction, if it is allowed there. When a write returns, it is on disk."""
        resources = operation.resources_of(call)

        def run(tx: Any) -> calls.Output:
            for resource in resources:  # all of them, before anything is told of one
                policy.authorise(tx, call, resource)
            return operation.run(tx, call)

        match operation.access:
            case table.Access.WRITE:
                return await self._store.write(run)
            case table.Access.LOOK_UP if not policy.asks_the_store(call):
                return await self._store.read(run)
        try:
            # On one view, so that what the policy sees is what the call sees.
            what = f"what {call.operation} asks for"
            return await self._store.long_read(run, what=what, account=call.tenant.account)
        except ports.TookTooLong as error:
            if operation.access is table.Access.SEARCH:
                raise searching.took_too_long(error, call.members) from error
            raise


def _refusal(error: ApiError, match: protocol.Match) -> Response:
    return protocol.serialise_error(error, modelled=error.code in match.operation.errors, form=match.form)


class _NotProven(ApiError):
    """Nobody knows who calls, and the answer has to wait for some seconds."""

    def __init__(self, code: str, status: int, message: str, delay: float) -> None:
        super().__init__(code, status, message)
        self.delay = delay


class _ClientGone(Exception):
    """The client left before its request was there. There is nobody to answer."""


async def _read(scope: Scope, receive: Receive) -> Request:
    """The whole request. Raises `ApiError` RequestEntityTooLargeException before the body grows too large."""
    body = bytearray()  # the parts may have an octet each
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
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
        headers=tuple(
            [(name.decode("latin-1"), value.strip(b" \t").decode(*OCTETS)) for name, value in scope["headers"]]
        ),
        body=bytes(body),
    )


def _source(scope: Scope) -> calls.Source:
    client = scope.get("client")
    return calls.Source(client[0] if client else "", scope.get("scheme") == "https")


def _request_id() -> str:
    """A UUID that nobody could mistake for another's; unlike a resource's id it need not be hard to guess."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


async def _send(send: Send, response: Response, request_id: str) -> None:
    # In the order of the example on the API's page.
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        (b"x-amzn-requestid", request_id.encode()),
        *response.headers,
    ]
    if response.error_type:
        headers.append((b"x-amzn-errortype", response.error_type.encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
