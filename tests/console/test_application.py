"""The console as an ASGI application, whose clock, store and client the test chooses."""

import asyncio
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.cookies import SimpleCookie

import pytest
from starlette.responses import Response

from tests.kit.values import NOW, NoSeal
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import access_keys, sessions
from waypost.app.limit_state import OwnState
from waypost.app.mail.faults import FaultRules
from waypost.app.mail.wanted import NotesWanted
from waypost.app.rate_limits import FailedSignatures
from waypost.console import asgi, cookies
from waypost.console.parts import Parts
from waypost.console.views import signing_in
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.iam.sessions import LONGEST, LONGEST_IDLE, NOTED_EVERY, OVERLAP, RENEWED_EVERY
from waypost.server.maintenance import Maintenance
from waypost.store.sqlite.store import SqliteStore

KEY = AccessKey(id="AKIA1", secret="right", account="0" * 12, created_at=NOW)
COOKIE = "waypost_session"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Client:
    """Calls the ASGI application directly. `now` is the time, and `peer` is the client's address. `parts` replace
    further parts of the server.
    """

    def __init__(self, path, emitted, **parts):
        self.path = path
        self.now = NOW
        self.peer = "127.0.0.1"
        self.cookies = {}
        self._run = asyncio.Runner()
        self._store = self._run.run(_opened(path))
        self._emitted = emitted
        self._parts = parts
        self.serve()

    def serve(self):
        """Make the application from the table of views."""
        self._application = asgi.application(
            Parts(
                store=self._store,
                deployment=Deployment("mail.example", b"", owner=KEY.account),
                failures=FailedSignatures(OwnState()),
                clock=lambda: self.now,
                mail_clock=lambda: self.now,
                emit=self._emitted.append,
                wake=lambda: None,
                perform=None,
                is_full=lambda: False,
                own_names=frozenset(),
                form_key=b"k" * 32,
                notes=NotesWanted(OwnState(), lambda: self.now),
                reader=None,
                faults=FaultRules(),
                refusal_retention=timedelta(days=7),
                **self._parts,
            )
        )

    def write(self, use_case):
        return self._run.run(self._store.write(use_case))

    def maintain(self):
        """Run the job of the maintenance that deletes sessions and links."""
        maintenance = Maintenance(
            store=self._store,
            deployment=None,
            incidents=None,
            real_clock=lambda: self.now,
            mail_clock=lambda: self.now,
            token_retention=timedelta(hours=2),
            refusal_retention=timedelta(hours=2),
            rules=[],
            begun_before=NOW,
            mail_text=None,
            notes=NotesWanted(OwnState(), lambda: self.now),
            first_plan_age=timedelta(),
        )
        self._run.run(maintenance.forget_calls_and_keys())

    def close(self):
        self._run.run(self._store.close())
        self._run.close()

    def send(self, method, path, body=b"", **headers):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {"host": "localhost", "cookie": cookie, "content-type": "application/x-www-form-urlencoded", **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": f"/console{path}",
            "raw_path": b"",
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "client": (self.peer, 1),
            "server": ("127.0.0.1", 8025),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        self._run.run(self._application(scope, receive, send))
        start, *parts = sent
        fields = [(name.decode(), value.decode()) for name, value in start["headers"]]
        for name, value in fields:
            if name == "set-cookie":
                self.cookies |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        text = b"".join(part.get("body", b"") for part in parts).decode()
        return Answer(start["status"], dict(fields), text)

    def get(self, path, **headers):
        return self.send("GET", path, **headers)

    def sign_in(self):
        form = self.get("/sign-in").body
        token = form.partition('name="csrf" value="')[2][:64]
        answer = self.send("POST", "/sign-in", f"csrf={token}&id={KEY.id}&secret={KEY.secret}".encode())
        assert answer.status == 303, answer.body


async def _opened(path):
    return SqliteStore(path, NoSeal())


@pytest.fixture
def emitted():
    return []


@pytest.fixture
def client(tmp_path, emitted):
    made = Client(tmp_path / "db", emitted)
    made.write(partial(access_keys.create, key=KEY))
    yield made
    made.close()


def test_a_session_ends_if_nobody_uses_it(client):
    client.sign_in()
    client.now += LONGEST_IDLE
    assert client.get("/keys").status == 303


def test_a_session_that_is_used_ends_after_twelve_hours(client):
    client.sign_in()
    step = timedelta(minutes=10)
    while client.now + step < NOW + LONGEST:
        client.now += step
        assert client.get("/keys").status == 200
    client.now = NOW + LONGEST
    assert client.get("/keys").status == 303


def test_a_session_gets_another_token_from_time_to_time(client):
    client.sign_in()
    first = client.cookies[COOKIE]
    client.now += RENEWED_EVERY - timedelta(seconds=1)
    form = client.get("/keys").body
    assert client.cookies[COOKIE] == first
    client.now += timedelta(seconds=1)
    assert client.get("/keys").status == 200
    second = client.cookies[COOKIE]
    assert second != first

    token = form.partition('name="csrf" value="')[2][:64]
    assert client.send("POST", "/theme", f"csrf={token}&theme=dark".encode()).status == 303  # the form is still valid
    client.cookies[COOKIE] = first  # a request that the browser had already sent
    assert client.get("/keys").status == 200
    assert client.cookies[COOKIE] == first
    client.now += OVERLAP
    assert client.get("/keys").status == 303
    client.cookies[COOKIE] = second
    assert client.get("/keys").status == 200


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "fe80::1%eth0", "x"])
def test_another_machine_gets_a_sentence_that_says_what_to_do(client, peer):
    client.sign_in()
    client.peer = peer
    for path in ("/sign-in", "/keys", "/link/x", "/static/x/y", "/nothing"):
        answer = client.get(path, **{"x-forwarded-for": "127.0.0.1"})
        assert answer.status == 403
        assert "ssh -L 8025:127.0.0.1:8025" in answer.body
        assert KEY.id not in answer.body


def test_this_machine_is_answered(client):
    for client.peer in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
        assert client.get("/sign-in").status == 200


def test_wrong_secrets_and_links_are_delayed_after_twenty(client, monkeypatch):
    delays = []

    async def sleep(seconds):
        delays.append(seconds)

    monkeypatch.setattr(signing_in.asyncio, "sleep", sleep)
    token = client.get("/sign-in").body.partition('name="csrf" value="')[2][:64]
    for number in range(22):
        body = f"csrf={token}&id={KEY.id}&secret=wrong".encode()
        refused = client.get("/link/x") if number % 2 else client.send("POST", "/sign-in", body)
        assert refused.status == 403
    assert delays[:20] == [0] * 20
    assert 0 < delays[20] < delays[21] <= 5
    client.sign_in()  # the right secret is never delayed
    assert len(delays) == 22


def test_people_can_read_while_the_store_cannot_write(client, monkeypatch):
    client.sign_in()

    async def write(*_, **__):
        raise ports.StoreUnavailable("the disk is full")

    monkeypatch.setattr(SqliteStore, "write", write)
    for client.now in (NOW + NOTED_EVERY, NOW + RENEWED_EVERY):
        assert client.get("/keys").status == 200


def test_a_notice_is_shown_once_and_escaped(client):
    client.sign_in()
    redirect = Response()
    cookies.put_notice(redirect, "Made <b>ä</b>")
    client.cookies |= {name: each.value for name, each in SimpleCookie(redirect.headers["set-cookie"]).items()}
    assert "waypost_notice" not in client.get("/keys", **{"hx-request": "true"}).headers.get("set-cookie", "")
    answer = client.get("/keys")
    assert '<p class="toast">Made &lt;b&gt;ä&lt;/b&gt;</p>' in answer.body
    assert "waypost_notice=" in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    for wrong in ("", "*", "_w", "a"):
        client.cookies["waypost_notice"] = wrong
        assert 'class="toast"' not in client.get("/keys").body


def test_maintenance_removes_sessions_and_links_that_are_over(client):
    client.sign_in()
    client.write(partial(sessions.make_link, access_key_id=KEY.id, token="t", now=NOW))
    client.now += LONGEST + timedelta(seconds=1)
    client.sign_in()
    client.maintain()
    database = sqlite3.connect(client.path)
    rows = [database.execute(f"SELECT count(*) FROM console_{name}").fetchone() for name in ("sessions", "links")]
    database.close()
    assert rows == [(1,), (0,)]


def test_an_internal_error_shows_only_its_id(client, emitted, monkeypatch):
    client.sign_in()
    monkeypatch.setattr(SqliteStore, "long_read", lambda *_, **__: 1 / 0)
    answer = client.get("/keys")
    (event,) = emitted
    assert answer.status == 500
    assert f"Something went wrong on our side (id {event.id})." in answer.body
    assert "ZeroDivision" not in answer.body
    assert answer.headers["x-frame-options"] == "DENY"
