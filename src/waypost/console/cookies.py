"""The cookies of the console: the session, the visitor who has not signed in, and the theme.

All cookies are for the path of the console alone, so that a browser does not send them to the API.

A response over HTTPS has other names for the cookies, with the prefix `__Secure-`, and the attribute `Secure`. A
browser sends these cookies only over HTTPS, and a page over HTTP cannot replace them (RFC 6265bis, section 4.1.3). The
names must differ, because the same browser may also use the console over HTTP on the same host, which could otherwise
not set its cookies.
"""

import base64

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

NOTICE = "waypost_notice"
"""A sentence for the next page, such as "The alias was made", because a form leads to a redirect."""

_OWN = b"waypost_"
"""The beginning of the names of all cookies of the console."""

_PREFIX = "__Secure-"

_NOTICE_SECONDS = 60
_LONGEST_NOTICE = 1_000


def put(response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Set a cookie that scripts cannot read, and that a browser does not send with requests of other sites.

    The cookie is valid for `seconds`, or until the browser is closed.
    """
    response.set_cookie(name, value, max_age=seconds, path=PATH, httponly=True, samesite="strict")


def remove(response: Response, name: str) -> None:
    """Delete a cookie from the browser."""
    response.delete_cookie(name, path=PATH, httponly=True, samesite="strict")


def value(request: Request, name: str) -> str:
    """Return the value of a cookie, or an empty string if the browser sent none."""
    return request.cookies.get((_PREFIX if request.url.scheme == "https" else "") + name, "")


def secure(response: Response) -> None:
    """Make all cookies of a response over HTTPS `Secure`, and give them their names for HTTPS.

    This is one function for all responses, so that no cookie can be forgotten.
    """
    response.raw_headers = [
        (name, _PREFIX.encode() + field + b"; Secure")
        if name == b"set-cookie" and field.startswith(_OWN)
        else (name, field)
        for name, field in response.raw_headers
    ]


def put_notice(response: Response, sentence: str) -> None:
    """Let the next page show a sentence once."""
    encoded = base64.urlsafe_b64encode(sentence[:_LONGEST_NOTICE].encode("utf-8", "replace")).decode().rstrip("=")
    put(response, NOTICE, encoded, seconds=_NOTICE_SECONDS)


def notice(request: Request) -> str:
    """Return the sentence that this page must show, or an empty string. The template escapes it."""
    encoded = value(request, NOTICE)
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:  # not base64, or not UTF-8
        return ""


def theme(request: Request) -> str:
    """Return the theme that the person has chosen, or an empty string."""
    chosen = value(request, THEME)
    return chosen if chosen in THEMES else ""
