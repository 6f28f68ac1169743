"""The cookies of the console: the session, the visitor who has not signed in, and the theme.

All cookies are for the path of the console alone, so that a browser does not send them to the API. They are not
`Secure`, because the console answers without TLS on loopback.
"""

from starlette.requests import Request
from starlette.responses import Response

PATH = "/console/"

SESSION = "waypost_session"
"""The token of a session."""

VISITOR = "waypost_visitor"
"""A random value to which the CSRF token of the sign-in form is bound, because there is no session yet."""

THEME = "waypost_theme"
"""`light` or `dark`. Without this cookie, the browser's preference decides."""

THEMES = ("light", "dark")


def put(response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Set a cookie that scripts cannot read, and that a browser does not send with requests of other sites.

    The cookie is valid for `seconds`, or until the browser is closed.
    """
    response.set_cookie(name, value, max_age=seconds, path=PATH, httponly=True, samesite="strict")


def remove(response: Response, name: str) -> None:
    """Delete a cookie from the browser."""
    response.delete_cookie(name, path=PATH, httponly=True, samesite="strict")


def theme(request: Request) -> str:
    """Return the theme that the person has chosen, or an empty string."""
    chosen = request.cookies.get(THEME, "")
    return chosen if chosen in THEMES else ""
