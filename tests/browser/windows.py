"""A window of Chromium that shows the console, and everything that must not happen in it."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit.browser import Browser
from tests.kit.patience import PATIENCE

OPTIONS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Options of Chromium's command line. Playwright adds `--headless`, `--no-sandbox` and an empty profile."""

WIDE = (1280, 800)
NARROW = (360, 740)
"""The width and the height of a window, in CSS pixels."""

AXE = Path(__file__).parents[2] / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
"""The program that finds faults of accessibility (`make browser` fetches it with npm)."""

_SESSION = "waypost_session"

_LOCAL_SCHEMES = {"about", "blob", "data"}


class Window:
    """A window with its own cookies.

    `problems` has a line for each error in the console of the browser, for each uncaught exception of a script, and for
    each request to another host. A violation of a Content-Security-Policy is an error in the console of the browser.
    `dialogs` has the text of each dialog; the window accepts all of them.
    """

    def __init__(self, chromium, server, *, theme="light", size=WIDE, scripts=True):
        self.server = server
        self.problems = []
        self.dialogs = []
        self._expected = []
        width, height = size
        self.context = chromium.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": height},
            java_script_enabled=scripts,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        self.context.set_default_timeout(PATIENCE * 1000)
        self.context.on("page", self._watch)
        self.page = self.context.new_page()

    def close(self):
        self.context.close()

    def open(self, path):
        """Open a page of the console, such as `/keys`, and return the response."""
        return self.page.goto(self.url(path))

    def url(self, path) -> str:
        return f"{self.server.url}/console{path}"

    @property
    def path(self) -> str:
        """The path of the page after `/console`, with its query."""
        url = urlsplit(self.page.url)
        return url.path.removeprefix("/console") + (f"?{url.query}" if url.query else "")

    def sign_in_at_once(self):
        """Sign in with the owner's access key, without the form."""
        key = self.server.profile.key
        browser = Browser(self.server.url)
        assert browser.sign_in(key.id, key.secret).status == 303
        cookie = {"name": _SESSION, "value": browser.cookies[_SESSION], "url": self.url("/")}
        self.context.add_cookies([cookie])

    def expect_problem(self, pattern):
        """Do not count an error in the console of the browser that matches a regular expression."""
        self._expected.append(re.compile(pattern))

    def expect_refusal(self, status):
        """Do not count the browser's error for a response with a status of 400 or more."""
        self.expect_problem(rf"the server responded with a status of {status} ")

    def faults(self) -> list[str]:
        """Return the faults of accessibility that axe finds on the page, one line for each. Skip the test if axe is
        missing.
        """
        if not AXE.exists():
            pytest.skip("axe-core is not installed: `make browser` fetches it with npm")
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {iframes: false, resultTypes: ['violations']})")
        return [
            f"{rule['impact']}, {rule['id']}: {node['html'][:200]}: {' '.join(node['failureSummary'].split())}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def _watch(self, page):
        page.on("console", self._note_line)
        page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        page.on("dialog", self._note_dialog)
        page.on("request", self._note_request)

    def _note_line(self, line):
        text = f"{line.type}: {line.text} ({line.location.get('url', '')})"
        if line.type in {"error", "warning"} and not any(each.search(text) for each in self._expected):
            self.problems.append(text)

    def _note_dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.accept()

    def _note_request(self, request):
        url = urlsplit(request.url)
        if url.scheme not in _LOCAL_SCHEMES and f"{url.scheme}://{url.netloc}" != self.server.url:
            self.problems.append(f"request to another host: {request.url}")
