"""The switch between the light and the dark theme, which works without scripts: the choice is in a cookie."""

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from waypost.console import cookies
from waypost.console.guard import Guard
from waypost.console.parts import PREFIX
from waypost.domain import errors

KEPT_SECONDS = 365 * 86_400
"""How many seconds a browser keeps the choice."""

_OWN_PATH = re.compile(r"/(?!/)[\w./%@+=&?~!,;:-]*", re.ASCII)
"""The part after `/console` of a path in the console. It cannot name another host."""


class Theme:
    """The form that changes the theme, with or without a session."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def change(self, request: Request) -> Response:
        """Store the chosen theme in a cookie, and send the browser back to the page with the form."""
        form = await self._guard.form_of_anybody(request)
        chosen, back = form.get("theme", ""), form.get("back", "/")
        if chosen not in cookies.THEMES:
            raise errors.Invalid(f"The theme must be `light` or `dark`, not {chosen!a}.")
        if not _OWN_PATH.fullmatch(back):
            back = "/"
        response = RedirectResponse(f"{PREFIX}{back}", status_code=303)
        cookies.put(response, cookies.THEME, chosen, seconds=KEPT_SECONDS)
        return response
