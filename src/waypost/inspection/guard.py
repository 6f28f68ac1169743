"""Authenticates and authorises requests to the inspection API, and turns exceptions into error responses."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeGuard, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from waypost.app import ports
from waypost.app.directory import access_keys
from waypost.app.ports.failures import STORE_FAILURES
from waypost.app.rate_limits import FailedSignatures
from waypost.domain import errors
from waypost.domain.iam import actions
from waypost.domain.iam.access_keys import AccessKey
from waypost.mime.message import CannotRead
from waypost.net import event_streams, origins
from waypost.observe import events
from waypost.observe.incidents import Incident, Incidents

T = TypeVar("T")

OpenPage = Callable[[Request], Awaitable[Response]]
"""A page that needs no credentials."""

Page = Callable[[Request, str], Awaitable[Response]]
"""A page that needs an access key. The page's second argument is the account of the access key."""

FEWER = "Use a smaller limit."
"""The advice in the error message for a list request that takes too long."""

AGAIN = "Please try again."
"""The advice in the error message for a request that takes too long and that the client cannot make smaller."""

_STATUSES = {errors.Invalid: 400, errors.NotFound: 404, errors.Conflict: 409, errors.Busy: 409}


class Guard:
    """Wraps every page with authentication, authorisation and error handling."""

    def __init__(
        self,
        store: ports.Store,
        *,
        failures: FailedSignatures,
        clock: ports.Clock,
        emit: events.Emit,
        own_names: frozenset[str] = frozenset(),
    ) -> None:
        """Create a guard. `own_names` are the host names, in lower case, that clients may use in requests."""
        self._own_names = own_names
        self._store = store
        self._failures = failures
        self._clock = clock
        self.incidents = Incidents(emit, of_store=STORE_FAILURES)

    def page(self, page: Page, action: str, *, local_account: str | None = None) -> OpenPage:
        """Wrap a page so that it requires an access key whose policy allows `action`. A stream of events ends when the
        key is no longer active, or its policy no longer allows `action`.

        If there is a `local_account`, a program on this machine needs no key, and gets the page of this account.
        """

        async def authorized(request: Request) -> Response:
            self.refuse_other_origins(request)
            if local_account is not None and _is_local(request):
                return await page(request, local_account)
            response = await page(request, await self._account(request, action))
            event_streams.end_when_refused(response, partial(self._is_still_allowed, request, action))
            return response

        return self.open(authorized)

    def refuse_other_origins(self, request: Request) -> None:
        """Raise `HTTPException` for a request with which a web page of another site may misuse a browser."""
        because = origins.refusal(request.headers, self._own_names, of="The inspection API")
        if because:
            raise HTTPException(403, because)

    def open(self, page: OpenPage) -> OpenPage:
        """Wrap a page so that exceptions become error responses. For an internal error, the caller gets only an id."""

        async def answer(request: Request) -> Response:
            try:
                return await page(request)
            except HTTPException:
                raise
            except ClientDisconnect:  # the client closed the connection before it sent the whole body
                return Response(status_code=400)
            except CannotRead as error:
                return refusal(409, str(error))
            except Exception as error:  # noqa: BLE001 - every exception becomes a response
                status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), None)
                if isinstance(error, errors.WaypostError) and status:
                    return refusal(status, error.message)
                incident = self.report(error)
                return refusal(503 if incident.is_of_store else 500, incident.sentence)

        return answer

    def report(self, error: Exception) -> Incident:
        """Log an internal error, and return the incident, whose id goes into the response."""
        return self.incidents.report(error, where="inspection")

    async def _account(self, request: Request, action: str) -> str:
        """Return the account of the request's access key. Raises `HTTPException` if the key is not valid, or if its
        policy does not allow `action`.
        """
        key_id, secret = _credentials(request)
        key = await self._store.read(partial(access_keys.find, access_key_id=key_id))
        if not _is_valid(key, secret):
            await asyncio.sleep(self._failures.delay(_source(request), self._clock()))
            raise HTTPException(
                401,
                "This page needs HTTP Basic authentication with the id and the secret of an active access key, such as "
                "the key in the credentials file.",
                headers={"www-authenticate": 'Basic realm="waypost", charset="UTF-8"'},
            )
        if not self._allows(key, action, request):
            raise HTTPException(403, f"The policy of access key {key_id} does not allow {action}.")
        return key.account

    async def _is_still_allowed(self, request: Request, action: str) -> bool:
        """Return whether the access key of a request that was allowed still allows `action`; also return False if the
        store cannot be read.
        """
        key_id, secret = _credentials(request)
        try:
            key = await self._store.read(partial(access_keys.find, access_key_id=key_id))
        except STORE_FAILURES:
            return False
        return _is_valid(key, secret) and self._allows(key, action, request)

    def _allows(self, key: AccessKey, action: str, request: Request) -> bool:
        """Return whether the key's policy allows this request to perform an action."""
        return actions.is_allowed(
            action,
            key,
            ip=_source(request),
            is_secure=request.url.scheme == "https",
            user_agent=request.headers.get("user-agent", ""),
            now=self._clock(),
        )


def refuse_others(owner: str, account: str, what: str, because: str) -> None:
    """Raise `HTTPException` unless an account is `owner`, the account that owns the server.

    `what` and `because` say in the error what only the owner may do, and why.
    """
    if account != owner:
        raise HTTPException(
            403,
            f"Only an access key of the account that owns this server may {what}, because {because}. The credentials "
            "file contains a key of the owner's account.",
        )


async def long_read(
    store: ports.Store, use_case: Callable[[ports.ReadTx], T], *, account: str, what: str, instead: str
) -> T:
    """Run a read of the store on behalf of an account, and return its result. The read may take a long time.

    If the read takes too long, raise `HTTPException` with status 503. The error message contains `what`, a noun phrase
    that names the data, and ends with `instead`, a sentence of advice.
    """
    try:
        return await store.long_read(use_case, what=what, account=account)
    except ports.TookTooLong as error:
        raise HTTPException(503, f"{error} {instead}") from error


def http_error(_: Request, error: Exception) -> Response:
    """Return the response for an `HTTPException` that Starlette or a page has raised."""
    if not isinstance(error, HTTPException):  # pragma: no cover - Starlette calls this only for HTTPException
        raise error
    return refusal(error.status_code, error.detail, headers=error.headers)


def refusal(status: int, message: str, *, headers: Any = None) -> Response:
    """Return an error response that contains a message for the caller."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _credentials(request: Request) -> tuple[str, str]:
    """Return the id and the secret of the access key in a request; empty if there is none (RFC 7617)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        credentials = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:  # not base64, or not UTF-8
        credentials = ""
    key_id, _, secret = credentials.partition(":")
    return key_id, secret


def _source(request: Request) -> str:
    """Return the IP address of the client that sent the request."""
    return request.client.host if request.client else ""


def _is_local(request: Request) -> bool:
    """Return whether a program on this machine has sent a request to this machine's loopback address.

    The addresses are those of the socket. A request that a proxy forwards also comes from this machine if the proxy is
    here, so a request with a header field of a proxy, or with another host name, is not local.
    """
    ends = (request.client, request.scope.get("server"))
    if _OF_PROXIES & set(request.headers.keys()) or not origins.is_loopback(request.headers.get("host", "")):
        return False
    return all(end is not None and origins.is_loopback_address(end[0]) for end in ends)


_OF_PROXIES = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})
"""The header fields that only proxies add, in lower case (RFC 7239, RFC 9110 section 7.6.3)."""


def _is_valid(key: AccessKey | None, secret: str) -> TypeGuard[AccessKey]:
    """Return whether `secret` is the secret of an active access key that needs no session token."""
    return key is not None and key.active and key.has_session_token(None) and key.has_secret(secret)
