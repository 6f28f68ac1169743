"""The fixtures of the console's tests: a real server, and a browser that has signed in with the owner's access key."""

from dataclasses import dataclass

import pytest

from tests.kit.browser import Browser
from tests.kit.servers.running import System
from waypost import testing


@dataclass(frozen=True)
class Console:
    """A server with a browser that has signed in. `system` has the SDK, a mail client and the inspection API."""

    system: System
    browser: Browser

    @property
    def base_url(self) -> str:
        """The URL of the console, such as `http://127.0.0.1:8025/console/`."""
        return f"{self.system.server.url}/console/"

    @property
    def cookie(self) -> dict[str, str]:
        """The session cookie, in the form of Playwright's `context.add_cookies([console.cookie])`."""
        name = "waypost_session"
        return {"name": name, "value": self.browser.cookies[name], "url": self.base_url}

    def new_browser(self) -> Browser:
        """Return a browser that has not signed in."""
        return Browser(self.system.server.url)

    def signed_in(self, key_id, secret, session_token="") -> Browser:
        """Return a new browser that has signed in with an access key."""
        browser = self.new_browser()
        assert browser.sign_in(key_id, secret, session_token).status == 303
        return browser


@pytest.fixture(scope="session")
def console_server():
    with testing.server("--hostname", "mail.example") as server:
        system = System(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


@pytest.fixture
def console(console_server):
    """A server that all tests share, with a browser that has signed in with the owner's access key."""
    key = console_server.server.profile.key
    browser = Browser(console_server.server.url)
    page = browser.sign_in(key.id, key.secret)
    assert page.status == 303, page.html
    return Console(console_server, browser)
