"""The page that checks the server: who may use it, when the checks run, and how it shows what they found."""

import html
import re
from functools import partial

import pytest

from tests.console.test_application import KEY, Client
from waypost.app.directory import access_keys
from waypost.domain import errors

FINDINGS = [
    {"check": "ports", "level": "ok", "text": "127.0.0.1:25 (mail) answers."},
    {"check": "clock", "level": "warning", "text": "The clock <b>drifts</b>."},
    {"check": "tls", "level": "problem", "text": "The certificate expired. Renew it."},
    {"check": "routes", "level": "problem", "text": "Mail waits."},
]


@pytest.fixture
def runs():
    """The runs of the checks. An exception that a test adds is raised by the next run."""
    return []


@pytest.fixture
def client(tmp_path, runs):
    async def check_server():
        failure = runs[-1] if runs else None
        runs.append(None)
        if failure:
            raise failure
        return {"is_healthy": False, "checked_at": "2026-12-01T10:00:00.000Z", "findings": FINDINGS}

    made = Client(tmp_path / "db", [], check_server=check_server)
    made.write(partial(access_keys.create, key=KEY))
    made.sign_in()
    yield made
    made.close()


def token_of(page):
    return re.search('name="csrf" value="([0-9a-f]{64})"', page.body)[1]


def test_opening_the_page_runs_no_checks(client, runs):
    page = client.get("/doctor")
    assert page.status == 200
    assert "Check the server</button>" in page.body
    assert runs == []


def test_the_form_runs_the_checks_and_shows_problems_first(client, runs):
    page = client.send("POST", "/doctor", f"csrf={token_of(client.get('/doctor'))}".encode())
    assert page.status == 200
    assert runs == [None]
    assert re.findall(r'data-label="Check">(\w+)<', page.body) == ["tls", "routes", "clock", "ports"]
    assert "2 problems" in html.unescape(page.body)
    assert "1 warning<" in page.body
    assert 'datetime="2026-12-01T10:00:00.000Z"' in page.body
    assert "The clock &lt;b&gt;drifts&lt;/b&gt;." in page.body
    assert "Check again</button>" in page.body


@pytest.mark.parametrize("body", [b"", b"csrf=" + b"0" * 64])
def test_a_form_without_the_token_runs_no_checks(client, runs, body):
    client.get("/doctor")
    page = client.send("POST", "/doctor", body)
    assert page.status == 403
    assert runs == []


def test_a_server_that_cannot_be_checked_says_why(client, runs):
    token = token_of(client.get("/doctor"))
    runs.append(errors.Conflict("The server is starting or stopping, so it cannot be checked. Try again."))
    page = client.send("POST", "/doctor", f"csrf={token}".encode())
    assert page.status == 409
    assert "The server is starting or stopping" in page.body


def test_the_policy_must_allow_the_checks(console):
    key, _ = console.new_key("waypost:ReadSettings", "waypost:Inspect")
    browser = console.signed_in(key.id, key.secret)
    browser.get("/nothing")  # for a token
    for page in (browser.get("/doctor"), browser.post("/doctor")):
        assert page.status == 403
        assert f"The policy of access key {key.id} does not allow waypost:CheckServer." in page.text


def test_only_the_owners_account_may_check_the_server(console):
    theirs, _ = console.new_key(account="111111111111")
    browser = console.signed_in(theirs.id, theirs.secret)
    browser.get("/nothing")  # for a token
    for page in (browser.get("/doctor"), browser.post("/doctor")):
        assert page.status == 403
        assert "waypost:CheckServer needs an access key of the server owner's account 000000000000." in page.text


def test_the_page_of_keys_leads_to_the_checks(console):
    assert 'href="/console/doctor"' in console.browser.get("/keys").html


def test_the_inspection_api_has_the_same_rules(console):
    theirs, _ = console.new_key(account="111111111111")
    mine, _ = console.new_key("waypost:Inspect", "waypost:ReadSettings")
    system = console.system
    refused = system.get("doctor", key=(theirs.id, theirs.secret))
    assert refused.status == 403
    assert "Only an access key of the account that owns this server may check the server" in refused.json()["error"]
    refused = system.get("doctor", key=(mine.id, mine.secret))
    assert refused.status == 403
    assert "does not allow waypost:CheckServer" in refused.json()["error"]
