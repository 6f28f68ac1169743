"""The pages on which a person signs in with an access key, and signs out."""

import asyncio
import secrets
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from waypost.app.directory import access_keys
from waypost.console import cookies, csrf
from waypost.console.guard import Guard, of_visitor
from waypost.console.parts import PREFIX
from waypost.console.paths import own_path
from waypost.console.sessions import SignedIn
from waypost.domain.iam.access_keys import AccessKey

WRONG = "There is no active access key with this id and secret. Check both, and the session token of a temporary key."
"""The answer to a wrong id, a wrong secret, and a key that is not active. It must not say which of them it was."""

USED = "This link has been used, or is older than 10 minutes. Run “waypost console” for another one."


class SignIn:
    """The pages for signing in and out."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._parts = guard.parts

    async def show(self, request: Request) -> Response:
        """Show the sign-in form."""
        return self._form(request, status=200, back=request.query_params.get("back", ""))

    async def sign_in(self, request: Request) -> Response:
        """Open a session, if the form has the id and the secret of an active access key."""
        form = await self._guard.checked_form(request, bound_to=of_visitor(request))
        key = await self._key(form.get("id", "").strip(), form.get("secret", ""), form.get("session_token", ""))
        opened = await self._guard.sessions.open(key) if key else None
        if opened is None:
            await self._delay(request)
            return self._form(request, status=403, sentence=WRONG, back=form.get("back", ""))
        return await self._begin(request, opened, own_path(form.get("back", "")))

    async def sign_in_with_link(self, request: Request) -> Response:
        """Open a session with a link that `waypost console` or `waypost serve` has printed."""
        if request.method != "GET":  # a program that looks at links must not use them up
            raise HTTPException(405, "Open this link in a browser.")
        opened = await self._guard.sessions.open_with_link(request.path_params["token"])
        if opened is None:
            await self._delay(request)
            return self._form(request, status=403, sentence=USED)
        return await self._begin(request, opened)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        token = cookies.value(request, cookies.SESSION)
        found = await self._guard.sessions.find(token)
        if found:
            await self._guard.checked_form(request, bound_to=found.session_id)
            await self._guard.sessions.end(token)
        response = RedirectResponse(f"{PREFIX}/sign-in", status_code=303)
        cookies.remove(response, cookies.SESSION)
        return response

    async def _begin(self, request: Request, opened: SignedIn, path: str = "/") -> Response:
        """End the session before, and send the person to a page with the token of the new one.

        The token is always a new one: a token that somebody else has put into the browser is never used.
        """
        await self._guard.sessions.end(cookies.value(request, cookies.SESSION))
        response = RedirectResponse(f"{PREFIX}{path}", status_code=303)
        cookies.put(response, cookies.SESSION, opened.new_token)
        cookies.remove(response, cookies.VISITOR)
        return response

    async def _key(self, access_key_id: str, secret: str, session_token: str) -> AccessKey | None:
        """Return the access key with this id, if it is active and the secret and the session token are right."""
        key = await self._parts.store.read(partial(access_keys.find, access_key_id=access_key_id))
        is_valid = (
            key is not None
            and key.active
            and not key.is_expired(self._parts.clock())
            and key.has_secret(secret)
            and key.has_session_token(session_token or None)
        )
        return key if is_valid else None

    async def _delay(self, request: Request) -> None:
        """Wait before the answer to a wrong secret, as the API does for wrong signatures."""
        source = request.client.host if request.client else ""
        await asyncio.sleep(self._parts.failures.delay(source, self._parts.clock()))

    def _form(self, request: Request, *, status: int, sentence: str = "", back: str = "") -> Response:
        """Return the sign-in form. `back` is the path of the page that the person asked for."""
        visitor = cookies.value(request, cookies.VISITOR) or secrets.token_urlsafe(32)
        token = csrf.token(self._parts.form_key, bound_to=of_visitor(request, visitor))
        html = self._guard.pages.render(
            "sign_in.html", request=request, csrf_token=token, visit=None, sentence=sentence, back=own_path(back)
        )
        response = HTMLResponse(html, status_code=status)
        cookies.put(response, cookies.VISITOR, visitor)
        return response
