"""A small browser for tests of the console. It keeps cookies, and fills in CSRF tokens, but follows no redirects."""

import html
import http.client
import re
import urllib.parse
from dataclasses import dataclass
from http.cookies import SimpleCookie

from tests.kit.patience import PATIENCE

_CSRF = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@dataclass(frozen=True)
class Page:
    """A response of the console."""

    status: int
    headers: dict[str, str]
    set_cookies: list[str]
    """The values of all Set-Cookie fields."""
    octets: bytes

    @property
    def html(self) -> str:
        return self.octets.decode()

    @property
    def text(self) -> str:
        """The words of the page, without its tags."""
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.html)).split())

    @property
    def csrf(self) -> str:
        """The CSRF token of the first form."""
        found = _CSRF.search(self.html)
        assert found, self.html
        return found[1]

    @property
    def location(self) -> str:
        return self.headers["location"]


class Browser:
    """One browser. `base_url` is the URL of the server, such as `http://127.0.0.1:8025`."""

    def __init__(self, base_url, *, source="127.0.0.1"):
        self.base_url = base_url
        self.source = source
        """The IP address from which the browser connects."""
        self.cookies = {}
        self.csrf = ""
        """The CSRF token of the last page with a form."""

    def get(self, path, *, headers=None, **query) -> Page:
        """Send a GET request. `path` begins with `/console/`, or is a path in the console, such as `/keys`."""
        return self._send("GET", _whole(path, query), None, headers or {})

    def post(self, path, fields=None, *, headers=None, csrf=None) -> Page:
        """Send a form, with the CSRF token of the last page, or with the token `csrf`."""
        token = self.csrf if csrf is None else csrf
        body = urllib.parse.urlencode({**({"csrf": token} if token else {}), **(fields or {})}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.base_url}
        return self._send("POST", _whole(path, {}), body, kind | (headers or {}))

    def sign_in(self, key_id, secret, session_token="") -> Page:
        self.get("/sign-in")
        return self.post("/sign-in", {"id": key_id, "secret": secret, "session_token": session_token})

    def _send(self, method, target, body, headers) -> Page:
        url = urllib.parse.urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            url.hostname, url.port, timeout=PATIENCE, source_address=(self.source, 0)
        )
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        try:
            connection.request(method, target, body, (cookies if self.cookies else {}) | headers)
            response = connection.getresponse()
            set_cookies = response.headers.get_all("set-cookie") or []
            page = Page(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                set_cookies,
                response.read(),
            )
        finally:
            connection.close()
        for each in set_cookies:
            self._keep(each)
        found = _CSRF.search(page.octets.decode(errors="replace"))
        if found:
            self.csrf = found[1]
        return page

    def _keep(self, set_cookie):
        for name, morsel in SimpleCookie(set_cookie).items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


def _whole(path, query):
    path = path if path == "/console" or path.startswith("/console/") else f"/console{path}"
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path
