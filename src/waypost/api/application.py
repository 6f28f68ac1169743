"""The AWS API as an application, which authenticates, parses, authorises and runs each call."""

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from waypost.api.access import policy, sigv4
from waypost.api.access.throttle import Throttle
from waypost.api.errors import ApiError, internal, translate, unavailable
from waypost.api.operations import calls, searching, table
from waypost.api.wire import protocol, shapes
from waypost.api.wire.http import Request, Response
from waypost.app import ports
from waypost.app.directory import access_keys
from waypost.app.known import Known
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.directory.instances import Tenant
from waypost.domain.errors import WaypostError
from waypost.domain.iam.access_keys import AccessKey
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.measures import Measures
from waypost.observe.spans.spans import Spans

KNOWN_AT_ONCE = 1_000
"""The maximum number of access keys, and of outputs of look-ups, that a process remembers."""

SERVICE = "connect"

BODY_LIMIT = 256 * 1024
"""The maximum size of a request body in bytes: twice the size of the largest valid request.

The limit is low because the server reads the body before it authenticates the caller.
"""


class Api:
    """The application. One instance of this class serves all requests.

    `older_regions` are the regions of instances that existed before the server started. Calls to these regions are
    accepted even if AWS has no such region, because earlier versions of Waypost accepted any region.
    """

    body_limit = BODY_LIMIT

    def __init__(
        self,
        store: ports.Store,
        *,
        terms: calls.Terms,
        throttle: Throttle,
        older_regions: Collection[str] = (),
        failures: FailedSignatures,
        clock: ports.Clock,
        emit: events.Emit,
        measures: Measures | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._store = store
        self._measures = measures or Measures()
        self._spans = spans
        self.terms = terms
        """The settings that all calls share. A reload of the settings can change them."""
        self._clock = clock
        self._incidents = Incidents(emit, of_store=STORE_FAILURES)
        self._protocol = protocol.Protocol(shapes.load())
        self._throttle = throttle
        self._older_regions = frozenset(older_regions)
        self._failures = failures
        self._keys = Known[AccessKey](KNOWN_AT_ONCE)
        self._outputs = Known[calls.Output](KNOWN_AT_ONCE)

    async def answer(self, request: Request, *, peer: str, request_id: str, is_secure: bool = False) -> Response:
        """Return the response to one HTTP request from the IP address `peer`. `request_id` also identifies an internal
        error in the log. `is_secure` says whether the request came over TLS.
        """
        began, operation, is_authenticated = time.monotonic(), "", False
        try:
            now = self._clock()
            caller = await self._authenticate(request, calls.Source(peer, is_secure=is_secure), now)
            is_authenticated = True
            operation, response = await self._answer(request, caller, now)
        except _UnauthenticatedError as error:
            # The traceback keeps the request and its body in memory. Without the traceback, they can be freed before
            # the delay.
            error.__traceback__ = error.__context__ = None
            if error.delay:
                await asyncio.sleep(error.delay)
            response = _unrouted(error, request)
        except ApiError as error:
            response = _unrouted(error, request)
        except Exception as error:  # noqa: BLE001 - the only boundary: the caller must not see the cause of an unexpected error
            incident = self._incidents.report(error, where="api", incident_id=request_id)
            answer = unavailable(error) if incident.is_of_store else internal()
            operation = self._operation_of(request)
            response = _unrouted(answer, request, modelled=not incident.is_of_store)
        seconds = time.monotonic() - began
        self._measures.api_call(operation, response.status, seconds)
        if self._spans:
            self._spans.call(
                operation,
                response.status,
                seconds,
                request_id=request_id,
                traceparent=request.header("traceparent"),
                is_authenticated=is_authenticated,
            )
        return response

    def _operation_of(self, request: Request) -> str:
        try:
            return self._protocol.route(request).operation.name
        except ApiError:
            return ""

    async def _answer(self, request: Request, caller: "_Caller", now: datetime) -> tuple[str, Response]:
        """Run the steps of an authenticated caller's call. Each step can refuse the call with an error. Return the name
        of the operation, and the response.
        """
        match = self._protocol.route(request)
        try:
            self._throttle.admit(caller.tenant, match.operation.name, now)
            output = await self._run(match, request, caller, now)
            return match.operation.name, protocol.serialise(match.operation, output, form=match.form)
        except WaypostError as error:
            return match.operation.name, _refusal(translate(error, match.operation.errors), match)
        except ApiError as error:
            return match.operation.name, _refusal(error, match)

    async def perform(
        self,
        operation: str,
        members: Mapping[str, Any],
        *,
        key: AccessKey,
        region: str,
        source: calls.Source,
        agent: str,
    ) -> calls.Output:
        """Run an operation for a person whom the console has authenticated, with the checks of a request to the API:
        the members, the policy of the key for every resource, and the quotas. There is no throttle, because the person
        sends one form at a time.

        `members` are JSON values by the names in the model. `agent` is the value of User-Agent. Raises an `ApiError`
        with the code and the message that the API would return, and the exceptions of the store.
        """
        headers = (("x-amz-target", protocol.TARGET_PREFIX + operation), ("user-agent", agent))
        request = Request("POST", "/", "", headers, msgspec.json.encode(members))
        match = self._protocol.route(request)
        caller = _Caller(key, Tenant(key.account, region), source)
        try:
            return await self._run(match, request, caller, self._clock())
        except WaypostError as error:
            raise translate(error, match.operation.errors) from error

    async def _run(self, match: protocol.Match, request: Request, caller: "_Caller", now: datetime) -> calls.Output:
        """Parse, authorise and run a call of an authenticated caller."""
        members = self._protocol.parse(match, request)
        operation = table.OPERATIONS[match.operation.name]
        members = operation.with_ids(members, caller.tenant)
        call = calls.Call(
            match.operation.name, caller.tenant, caller.key, caller.source, request, members, now, self.terms
        )
        return await self._perform(operation, call)

    async def _authenticate(self, request: Request, source: calls.Source, now: datetime) -> "_Caller":
        """Authenticate the caller.

        Raises an `ApiError` if the body is too large, and `_UnauthenticatedError` if the authentication fails. After
        repeated failures from one IP address, the error responses to this address are delayed; see `app.rate_limits`.
        """
        if len(request.body) > BODY_LIMIT:
            text = f"The request body is larger than {BODY_LIMIT} bytes."
            raise ApiError("RequestEntityTooLargeException", 413, text)
        try:
            claim = sigv4.claim(request, service=SERVICE, older_regions=self._older_regions)
            key = await self._key(claim.signer.access_key_id)
            key, tenant = sigv4.verify(request, claim, key, now=now)
            return _Caller(key, tenant, source)
        except ApiError as error:
            delay = self._failures.delay(source.ip, now)
            raise _UnauthenticatedError(error.code, error.status, error.message, delay) from None

    async def _key(self, access_key_id: str) -> AccessKey | None:
        version = self._store.version_of_keys()
        key = self._keys.get(access_key_id, version)
        if key is None:
            key = await self._store.read(lambda tx: access_keys.find(tx, access_key_id))
            if key:
                self._keys.add(access_key_id, key, version)
        return key

    async def _perform(self, operation: table.Operation, call: calls.Call) -> calls.Output:
        """Authorise and run a call in one transaction. A call that changes data returns only after its changes are on
        disk.
        """

        def run(tx: Any) -> calls.Output:
            self._authorise(tx, operation, call)
            return operation.run(tx, call)

        def look_up(tx: Any) -> calls.Output:
            self._authorise(tx, operation, call)
            return self._look_up(tx, operation, call)

        if operation.access is table.WRITE:
            return await self._store.write(run)
        if operation.access is table.LOOK_UP and not policy.may_depend_on_the_store(call):
            return await self._store.read(look_up)
        try:
            # A long read uses one snapshot, so that the policy and the operation see the same data.
            what = f"the data for {call.operation}"
            return await self._store.long_read(run, what=what, account=call.tenant.account)
        except ports.TookTooLong as error:
            if operation.access is table.SEARCH:
                raise searching.took_too_long(error, call.members) from error
            raise

    def _authorise(self, tx: Any, operation: table.Operation, call: calls.Call) -> None:
        """Raise an `ApiError` unless the policy allows the call on every resource, before the operation reveals any
        data.
        """
        if not call.key.allows_all:
            for resource in operation.resources_of(call):
                policy.authorise(tx, call, resource)

    def _look_up(self, tx: Any, operation: table.Operation, call: calls.Call) -> calls.Output:
        """Return the output of an operation that only looks up data. As long as the directory has not changed, equal
        calls of a tenant have the same output.
        """
        version = self._store.directory_version()
        question = (call.operation, call.tenant, call.members)
        output = self._outputs.get(question, version)
        if output is None:
            output = operation.run(tx, call)
            self._outputs.add(question, output, version)
        return output


def _refusal(error: ApiError, match: protocol.Match) -> Response:
    return protocol.serialise_error(error, modelled=error.code in match.operation.errors, form=match.form)


def _unrouted(error: ApiError, request: Request, *, modelled: bool = False) -> Response:
    """Return the response to a request whose operation is not known."""
    return protocol.serialise_error(error, modelled=modelled, form=protocol.form(request.method, request.raw_path))


class _Caller(NamedTuple):
    """The authenticated caller of a call."""

    key: AccessKey
    tenant: Tenant
    source: calls.Source


class _UnauthenticatedError(ApiError):
    """The caller is not authenticated. The error response is sent after `delay` seconds."""

    def __init__(self, code: str, status: int, message: str, delay: float) -> None:
        super().__init__(code, status, message)
        self.delay = delay
