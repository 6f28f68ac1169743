"""Authenticates and authorises requests to the inspection API; the edge's one error boundary."""

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
from waypost.domain.directory.instances import Tenant
from waypost.domain.iam import decisions
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.iam.facts import Circumstances
from waypost.inspection import origins
from waypost.observe import events
from waypost.observe.incidents import Incident, Incidents

T = TypeVar("T")

INSPECT = "waypost:Inspect"
"""The action that the IAM policy of an access key must allow, for the whole account, to read."""

REDRIVE = "waypost:Redrive"
"""The action to redrive and replay mail."""

ADVANCE_CLOCK = "waypost:AdvanceClock"
"""The action to advance a virtual clock; the key must also belong to the account of the server's owner."""

OpenPage = Callable[[Request], Awaitable[Response]]
"""A page for anybody."""

Page = Callable[[Request, str], Awaitable[Response]]
"""A page for an account."""

FEWER = "Ask for fewer with limit."
"""The advice for a page that takes too long to read."""

AGAIN = "Please try again."
"""The advice where a request cannot ask for less."""

_STATUSES = {errors.Invalid: 400, errors.NotFound: 404, errors.Conflict: 409, errors.Busy: 409}


class Guard:
    """Stands before every page."""

    def __init__(
        self,
        store: ports.Store,
        *,
        failures: FailedSignatures,
        clock: ports.Clock,
        emit: events.Emit,
        own_names: frozenset[str] = frozenset(),
    ) -> None:
        """`own_names` are host names, in lower case, by which clients may request the pages."""
        self._own_names = own_names
        self._store = store
        self._failures = failures
        self._clock = clock
        self._incidents = Incidents(emit, of_store=STORE_FAILURES)

    def page(self, page: Page, action: str) -> OpenPage:
        """The page for access keys that allow this action."""

        async def of_account(request: Request) -> Response:
            because = origins.refusal(request.headers, self._own_names)
            if because:
                raise HTTPException(403, because)
            return await page(request, await self._account(request, action))

        return self.open(of_account)

    def open(self, page: OpenPage) -> OpenPage:
        """The page inside the error boundary: the caller of an internal error gets only an id."""

        async def answer(request: Request) -> Response:
            try:
                return await page(request)
            except HTTPException:
                raise
            except ClientDisconnect:  # before all of the body was there
                return Response(status_code=400)
            except Exception as error:  # noqa: BLE001 - whatever it was
                status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), None)
                if isinstance(error, errors.WaypostError) and status:
                    return refusal(status, error.message)
                incident = self.report(error)
                return refusal(503 if incident.is_of_store else 500, incident.sentence)

        return answer

    def report(self, error: Exception) -> Incident:
        """Log an internal error; returns the incident for the caller."""
        return self._incidents.report(error, where="inspection")

    async def _account(self, request: Request, action: str) -> str:
        """The account of the request's access key, which must allow this action."""
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
        if not self._allows(key, action, request):
            raise HTTPException(403, f"The policy of access key {key_id} does not allow {action}.")
        return key.account

    def _allows(self, key: AccessKey, action: str, request: Request) -> bool:
        """Whether the key's policy allows it, in the circumstances of the request."""
        circumstances = Circumstances(
            key=key,
            tenant=Tenant(key.account, region=""),  # mail is in no region, whatever a caller names
            ip=_source(request),
            is_secure=request.url.scheme == "https",
            user_agent=request.headers.get("user-agent", ""),
            now=self._clock(),
        )
        decision = decisions.decide_for_all(key.policy, action=action, lookup=circumstances.look_up)
        return decision is decisions.Decision.ALLOWED


async def long_read(
    store: ports.Store, use_case: Callable[[ports.ReadTx], T], *, account: str, what: str, instead: str
) -> T:
    """The result of a long read of the store for an account.

    One that takes too long is refused with status 503, and a message that names `what` was read (a noun phrase) and
    ends with `instead` (a sentence that says what to do).
    """
    try:
        return await store.long_read(use_case, what=what, account=account)
    except ports.TookTooLong as error:
        raise HTTPException(503, f"{error} {instead}") from error


def http_error(_: Request, error: Exception) -> Response:
    """Errors that Starlette raises, and those that the pages raise in its form."""
    if not isinstance(error, HTTPException):  # pragma: no cover - Starlette calls this for nothing else
        raise error
    return refusal(error.status_code, error.detail, headers=error.headers)


def refusal(status: int, message: str, *, headers: Any = None) -> Response:
    """A sentence, and its status."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _source(request: Request) -> str:
    """The IP address that a request comes from."""
    return request.client.host if request.client else ""


def _is_good(key: AccessKey | None, secret: str) -> TypeGuard[AccessKey]:
    """Whether this is the secret of a usable key. A key that needs a session token is not usable here."""
    return key is not None and key.active and key.has_session_token(None) and key.has_secret(secret)
