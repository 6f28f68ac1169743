"""Protects every view: checks who asks and from where, and turns exceptions into pages."""

from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from waypost.app.ports.failures import STORE_FAILURES
from waypost.console import cookies, csrf
from waypost.console.calls import Refused
from waypost.console.parts import PREFIX, Parts
from waypost.console.paths import own_path
from waypost.console.rendering import Pages
from waypost.console.sessions import Sessions, SignedIn
from waypost.console.visits import NotAllowed, Visit
from waypost.domain import errors
from waypost.net import event_streams, origins
from waypost.observe.incidents import Incidents

BODY_LIMIT = 512 * 1024
"""The maximum size of a form, in bytes."""

MOST_FIELDS = 1_000
"""The maximum number of fields in a form."""

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; frame-src 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""The header fields of every response of the console. The views that send the content of a message set some of them to
other values (`views.mail.contents`).
"""

STRICT = "max-age=31536000"
"""The value of Strict-Transport-Security (RFC 6797): a browser uses only HTTPS for this host name, for a year."""

ONLY_LOOPBACK = (
    "Without TLS, the console answers only on the machine of the server. Use HTTPS (--https), or forward a port with "
    "SSH, such as "
    "`ssh -L {port}:127.0.0.1:{port} HOST`, and open http://127.0.0.1:{port}/console/."
)

_STATUSES: dict[type[errors.WaypostError], int] = {
    errors.Invalid: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Duplicate: 409,
    errors.Busy: 409,
}

Answer = Callable[[Request], Awaitable[Response]]
Show = Callable[[Visit], Awaitable[Response]]


class View(Struct, frozen=True, kw_only=True):
    """A row of the table of views."""

    path: str
    """The path after `/console`. It may contain parameters in the form of Starlette, such as `{id}`."""
    show: Show
    action: str = ""
    """The IAM action that the policy of the key must allow. If it is empty, the person must only be signed in."""
    of_owner: bool = False
    """Whether the key must also belong to the account of the server's owner."""
    method: str = "GET"
    label: str = ""
    """The text of the link in the header; empty if the header has no link to this view."""


class Guard:
    """Wraps every view with the checks of a request and with error handling."""

    def __init__(self, parts: Parts, pages: Pages, sessions: Sessions) -> None:
        self.parts = parts
        self.pages = pages
        self.sessions = sessions
        self._incidents = Incidents(parts.emit, of_store=STORE_FAILURES)

    def view(self, view: View) -> Answer:
        """Wrap a view so that it requires a session, a CSRF token if it changes data, and the view's action.

        A stream of events ends when the session is over, or the policy of the key no longer allows the action.
        """

        async def answer(request: Request) -> Response:
            found = await self.sessions.find(cookies.value(request, cookies.SESSION))
            if found is None:
                return self._to_sign_in(request)
            self.parts.notes.renew()
            visit = self._visit(request, found)
            response = await self._shown(view, visit, found)
            event_streams.end_when_refused(response, partial(self._is_still_allowed, view, request))
            if found.new_token:
                cookies.put(response, cookies.SESSION, found.new_token)
            return response

        return self.open(answer)

    def open(self, answer: Answer, *, from_any_page: bool = False) -> Answer:
        """Wrap a view that needs no session. Every exception becomes a page.

        If `from_any_page` is true, pages of other origins may send the request too, so the view must itself check that
        the request is allowed.
        """

        async def guarded(request: Request) -> Response:
            try:
                self._check_source(request, from_any_page=from_any_page)
                response = await answer(request)
            except ClientDisconnect:
                response = Response(status_code=400)
            except Exception as error:  # noqa: BLE001 - every exception becomes a page
                response = self.error_page(request, error)
            for name, value in SECURITY.items():
                response.headers.setdefault(name, value)
            if is_secure(request):
                cookies.secure(response)
                if self.parts.is_https_only:
                    response.headers.setdefault("strict-transport-security", STRICT)
            response.headers.setdefault("cache-control", "no-store")
            return response

        return guarded

    async def _is_still_allowed(self, view: View, request: Request) -> bool:
        """Return whether the session of a request that was allowed still allows the view. If the store cannot be read,
        return False.
        """
        try:
            key = await self.sessions.key_of(cookies.value(request, cookies.SESSION))
        except STORE_FAILURES:
            return False
        return key is not None and Visit(request, self.parts, self.pages, key=key, csrf_token="").allows(view.action)

    async def _shown(self, view: View, visit: Visit, found: SignedIn) -> Response:
        """Return the response of a view, or the page for its exception. The page has the links of the header."""
        try:
            if visit.request.method == "POST":
                visit.form = await self.checked_form(visit.request, bound_to=found.session_id)
            if view.action:
                visit.require(view.action, of_owner=view.of_owner)
            return await view.show(visit)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - every exception becomes a page
            return self.error_page(visit.request, error, visit)

    async def refusal(self, request: Request, error: Exception) -> Response:
        """Return the page for an exception outside of the views. A person who has signed in sees the navigation."""
        found = await self.sessions.find(cookies.value(request, cookies.SESSION))
        response = self.error_page(request, error, self._visit(request, found) if found else None)
        if found and found.new_token:
            cookies.put(response, cookies.SESSION, found.new_token)
        return response

    def _visit(self, request: Request, found: SignedIn) -> Visit:
        token = csrf.token(self.parts.form_key, bound_to=found.session_id)
        return Visit(request, self.parts, self.pages, key=found.key, csrf_token=token)

    def error_page(self, request: Request, error: Exception, visit: Visit | None = None) -> Response:
        """Return the page for an exception. For an internal error, it has only the id of the incident."""
        status, sentence = self._refusal(error)
        headers = dict(getattr(error, "headers", None) or {})
        template = "error.html"
        if "hx-request" in request.headers:
            template = "error_fragment.html"
            headers |= {"hx-retarget": "#toasts", "hx-reswap": "beforeend"}
        token = visit.csrf_token if visit else ""
        html = self.pages.render(
            template, request=request, csrf_token=token, visit=visit, status=status, sentence=sentence
        )
        return HTMLResponse(html, status_code=status, headers=headers)

    async def form_of_anybody(self, request: Request) -> dict[str, str]:
        """Return the fields of a form that a person can send with or without a session. Raises as `checked_form`."""
        found = await self.sessions.find(cookies.value(request, cookies.SESSION))
        return await self.checked_form(request, bound_to=found.session_id if found else of_visitor(request))

    async def checked_form(self, request: Request, *, bound_to: str) -> dict[str, str]:
        """Return the fields of the form in a request. Raises `HTTPException` unless the form, or the header field of
        htmx, has the CSRF token for `bound_to`.
        """
        form = await _form(request)
        given = request.headers.get(csrf.HEADER) or form.pop(csrf.FIELD, "")
        if not csrf.is_valid(given, self.parts.form_key, bound_to=bound_to):
            raise HTTPException(403, "This form is too old, or is from another sign-in. Reload the page and try again.")
        return form

    def _check_source(self, request: Request, *, from_any_page: bool) -> None:
        """Raise `HTTPException` if the request is from another machine without TLS or, unless `from_any_page`, from a
        page of another origin.
        """
        if not is_secure(request) and not _is_loopback(request):
            port = request.scope["server"][1] if request.scope.get("server") else 8025
            raise HTTPException(403, ONLY_LOOPBACK.format(port=port))
        headers = {"host": request.headers.get("host", "")} if from_any_page else request.headers
        because = origins.refusal(headers, self.parts.own_names, of="The console")
        if because:
            raise HTTPException(403, because)

    def _to_sign_in(self, request: Request) -> Response:
        """Send a person who has no session to the sign-in page. htmx then loads that page as a whole."""
        where = f"{PREFIX}/sign-in"
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"hx-redirect": where})
        asked = request.url.path.removeprefix(PREFIX) + (f"?{request.url.query}" if request.url.query else "")
        if request.method == "GET" and asked != "/" and own_path(asked) == asked:
            where += "?" + urlencode({"back": asked})
        return RedirectResponse(where, status_code=303)

    def _refusal(self, error: Exception) -> tuple[int, str]:
        """Return the status and the sentence for an exception. Report an internal error to the log."""
        if isinstance(error, HTTPException):
            return error.status_code, error.detail
        if isinstance(error, NotAllowed):
            return 403, str(error)
        if isinstance(error, Refused):
            return error.status, str(error)
        for kind, status in _STATUSES.items():
            if isinstance(error, kind):
                return status, error.message
        incident = self._incidents.report(error, where="console")
        return 503 if incident.is_of_store else 500, incident.sentence


def of_visitor(request: Request, visitor: str = "") -> str:
    """Return what the CSRF token of a person without a session is bound to. It is never the id of a session.

    `visitor` is the value of the visitor's cookie; if it is empty, the request has the cookie.
    """
    return f"visitor {visitor or cookies.value(request, cookies.VISITOR)}"


async def _form(request: Request) -> dict[str, str]:
    """Parse a form in `application/x-www-form-urlencoded`. Of several fields with one name, the last one counts.

    Raises `HTTPException` if the form is too large or has another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"The form is larger than {BODY_LIMIT} bytes.")
    if body and kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "A form must be sent as application/x-www-form-urlencoded.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except ValueError as error:
        raise HTTPException(400, "The form is not valid UTF-8, or has too many fields.") from error


def is_secure(request: Request) -> bool:
    """Return whether a request came over TLS."""
    return request.url.scheme == "https"


def _is_loopback(request: Request) -> bool:
    """Return whether the client is on the machine of the server."""
    try:
        found = ip_address(request.client.host.partition("%")[0]) if request.client else None
    except ValueError:
        return False
    if found is None:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
