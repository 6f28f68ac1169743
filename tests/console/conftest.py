"""The fixtures of the console's tests: a real server, and a browser that has signed in with the owner's access key."""

import json
from dataclasses import dataclass
from functools import partial

import boto3
import botocore.config
import pytest

from tests.kit.browser import Browser
from tests.kit.console_places import Place
from tests.kit.servers.running import System, shared_system
from tests.kit.stores import direct_writes
from waypost.app.directory import access_keys
from waypost.host import sealing
from waypost.host.clock import now


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
        return {
            "name": name,
            "value": self.browser.cookies[name],
            "url": self.base_url,
            "sameSite": "Strict",
            "httpOnly": True,
        }

    def new_key(self, *allowed, account="000000000000", name="ann", lifetime=None, statements=None, **statement):
        """Create an access key whose policy allows the actions `allowed`, or has the `statements`. Return the key and
        its session token.
        """
        document = {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": allowed or "*", "Resource": "*"},
        }
        document["Statement"] = statements or document["Statement"] | statement
        key, session_token = sealing.new_access_key(
            account=account, user_name=name, policy=json.dumps(document), now=now(), lifetime=lifetime
        )
        self.write(partial(access_keys.create, key=key))
        return key, session_token

    def client_of(self, key):
        """Return an SDK client that signs with an access key."""
        arguments = self.system.server.client_arguments | {
            "aws_access_key_id": key.id,
            "aws_secret_access_key": key.secret,
        }
        return boto3.client("connect", **arguments, config=botocore.config.Config(proxies={}))

    def write(self, use_case):
        """Run a use case on the store of the server, as commands do."""
        return direct_writes.write(self.system.server.data, use_case)

    def new_browser(self) -> Browser:
        """Return a browser that has not signed in."""
        return Browser(self.system.server.url)

    def signed_in(self, key_id, secret, session_token="") -> Browser:
        """Return a new browser that has signed in with an access key."""
        browser = self.new_browser()
        page = browser.sign_in(key_id, secret, session_token)
        assert page.status == 303, page.text
        return browser


@pytest.fixture(scope="session")
def console_server():
    with shared_system() as system:
        yield system


@pytest.fixture
def console(console_server):
    """A server that all tests share, with a browser that has signed in with the owner's access key."""
    key = console_server.server.profile.key
    browser = Browser(console_server.server.url)
    page = browser.sign_in(key.id, key.secret)
    assert page.status == 303, page.html
    return Console(console_server, browser)


@pytest.fixture
def place(console):
    """A new instance, so that lists have no email addresses of other tests."""
    made = console.system.connect.create_instance(
        IdentityManagementType="CONNECT_MANAGED", InboundCallsEnabled=True, OutboundCallsEnabled=True
    )
    return Place(console, made["Id"])
