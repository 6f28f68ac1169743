"""The switch between the light and the dark theme, which works without scripts: the choice is in a cookie."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from waypost.console import cookies
from waypost.console.guard import Guard
from waypost.console.parts import PREFIX
from waypost.console.paths import own_path
from waypost.domain import errors

KEPT_SECONDS = 365 * 86_400
"""How many seconds a browser keeps the choice."""


class Theme:
    """The form that changes the theme, with or without a session."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def change(self, request: Request) -> Response:
        """Store the chosen theme in a cookie, and send the browser back to the page with the form."""
        form = await self._guard.form_of_anybody(request)
        chosen = form.get("theme", "")
        if chosen not in cookies.THEMES:
            raise errors.Invalid(f"The theme must be `light` or `dark`, not {chosen!a}.")
        response = RedirectResponse(f"{PREFIX}{own_path(form.get('back', ''))}", status_code=303)
        cookies.put(response, cookies.THEME, chosen, seconds=KEPT_SECONDS)
        return response
