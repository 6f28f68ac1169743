"""All worker processes of a server share the sessions and the CSRF tokens of the console."""

import secrets
from contextlib import ExitStack
from functools import partial

import pytest

from tests.console.conftest import Console
from tests.console.test_mail import mail
from tests.console.test_mail_events import stream, until
from tests.kit.browser import Browser
from tests.kit.servers.running import System
from tests.kit.stores import direct_writes
from waypost import testing
from waypost.app.directory import sessions
from waypost.host.clock import now

REQUESTS = 24
"""Enough requests on connections of their own that each of two processes very probably answers some of them."""


@pytest.fixture(scope="module")
def server():
    with testing.server("--workers", "2") as running:
        yield running


def test_a_session_is_valid_in_every_worker_process(server):
    key = server.profile.key
    browser = Browser(server.url)
    assert browser.sign_in(key.id, key.secret).status == 303
    for _ in range(REQUESTS):
        assert browser.get("/keys").status == 200
        assert browser.post("/theme", {"theme": "dark"}).status == 303
    token = browser.cookies["waypost_session"]
    assert browser.post("/sign-out").status == 303
    browser.cookies["waypost_session"] = token
    assert {browser.get("/keys").status for _ in range(REQUESTS)} == {303}


def test_a_link_signs_in_once_whichever_worker_process_gets_it(server):
    token = secrets.token_urlsafe(32)
    made = partial(sessions.make_link, access_key_id=server.profile.key.id, token=token, now=now())
    direct_writes.write(server.data, made)
    found = [Browser(server.url, source=f"127.8.0.{n + 1}").get(f"/link/{token}").status for n in range(REQUESTS)]
    assert sorted(found) == [303, *[403] * (REQUESTS - 1)]


def test_mail_appears_in_browsers_whichever_worker_processes_accept_it_and_show_it(server):
    key, system = server.profile.key, System(server)
    browser = Browser(server.url)
    assert browser.sign_in(key.id, key.secret).status == 303
    console, address = Console(system, browser), system.new_address()
    with ExitStack() as opened:
        streams = [opened.enter_context(stream(console)) for _ in range(8)]
        sent = [system.deliver(mail(f"Number {number}"), address) for number in range(4)]
        for next_event in streams:
            found = {until(next_event, message_id)[1] for message_id in sent}
            assert found == set(sent)
