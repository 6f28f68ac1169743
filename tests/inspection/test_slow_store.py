"""The inspection API with a slow store, and with a store from which mail is deleted during a request."""

import asyncio
import base64
import json
import uuid
from datetime import timedelta

import pytest

from tests.kit.values import NOW, TENANT, NoSeal, a_delivery, a_message
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.limit_state import OwnState
from waypost.app.mail import copies
from waypost.app.mail.faults import FaultRules
from waypost.app.mail.wanted import NotesWanted
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.iam import policies
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail.delivery import Status
from waypost.inspection import asgi
from waypost.observe import events
from waypost.store.sqlite.store import SqliteStore

KEY = AccessKey(
    id="AKIA" + "A" * 16,
    secret="secret",
    account=TENANT.account,
    user_name="root",
    document=policies.ALLOW_ALL,
    created_at=NOW,
)
LARGE = b"Subject: large\r\n\r\n" + b"x" * (5 * copies.PART // 2)


class Client:
    """Calls the inspection API of a store directly, without a socket."""

    def __init__(self, store):
        self.store = store
        self.events = []
        self.application = asgi.application(
            store,
            deployment=Deployment(hostname="mail.example", loop_key=b"k"),
            failures=FailedSignatures(OwnState()),
            clock=lambda: NOW,
            mail_clock=lambda: NOW,
            emit=self.events.append,
            wake=lambda: None,
            advance=None,
            refusal_retention=timedelta(days=1),
            metrics=None,
            check_server=None,
            reader=None,
            feeds=None,
            notes=NotesWanted(OwnState(), lambda: NOW),
            faults=FaultRules(),
            read_fault=None,
        )

    async def get(self, target):
        """Return the status, the headers, the received part of the body, and whether the body is complete."""
        path, _, query = target.partition("?")
        credentials = base64.b64encode(f"{KEY.id}:{KEY.secret}".encode())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/_waypost/{path}",
            "raw_path": f"/_waypost/{path}".encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost"), (b"authorization", b"Basic " + credentials)],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent = []

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        try:
            await self.application(scope, receive, send)
        except* events.AlreadyReported:  # the HTTP server closes the connection then
            is_whole = False
        else:
            is_whole = True
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent[1:]), is_whole


def with_client(tmp_path, scenario):
    """Run `scenario(client)` on a store with one message."""

    async def main():
        store = SqliteStore(tmp_path / "waypost.sqlite3", NoSeal())
        try:
            await store.write(lambda tx: tx.add_access_key(KEY))
            delivery = a_delivery(status=Status.DELIVERED, kept=True, destination="", message_id="large")
            message = a_message("large", size=len(LARGE))
            await store.write(lambda tx: tx.add_message(message, LARGE, [delivery], []))
            return await scenario(Client(store))
        finally:
            await store.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "read", "advice"),
    [
        ("instance?region=us-east-1", "the instances", "Please try again."),
        ("messages?address=x@example.com", "the deliveries", "Use a smaller limit."),
        ("messages/large", "the trace of the message", "Please try again."),
        ("messages/large/raw?address=x@example.com", "the message", "Please try again."),
        (
            "trace?what=x@example.com",
            "the traces",
            "Request the trace of a single message by its id. Use a smaller limit.",
        ),
        ("explain?address=x@example.com", "the explanation", "Please try again."),
        ("queue", "the queue", "Name one destination. Use a smaller limit."),
        ("queue?destination=x", "the queue", "Use a smaller limit."),
        (
            "dead-letters",
            "the dead letters",
            "Select fewer dead letters with `since` or `address`. Use a smaller limit.",
        ),
    ],
)
def test_the_error_for_a_slow_page_names_the_data_and_gives_advice(tmp_path, monkeypatch, target, read, advice):
    async def too_slow(_, what, **__):
        raise ports.TookTooLong(what, 5)

    async def scenario(client):
        monkeypatch.setattr(client.store, "long_read", too_slow)
        return await client.get(target), client.events

    (status, _, body, _), logged = with_client(tmp_path, scenario)
    assert (status, logged) == (503, [])
    stated = f"The store stopped reading {read}, because the read took more than 5 seconds. {advice}"
    assert json.loads(body) == {"error": stated}


def raw_while(tmp_path, monkeypatch, *, after, happens):
    """Return the response of /raw and the logged events, if `happens` is called after that many long reads."""

    async def scenario(client):
        long_read, reads = client.store.long_read, 0

        async def counted(use_case, **options):
            nonlocal reads
            found = await long_read(use_case, **options)
            reads += 1
            if reads == after:
                await happens(client.store)
            return found

        monkeypatch.setattr(client.store, "long_read", counted)
        return await client.get("messages/large/raw?address=x@example.com"), client.events

    return with_client(tmp_path, scenario)


async def nothing(_):
    pass


async def purged(store):
    await store.write(lambda tx: tx.connection.execute("DELETE FROM message_bodies"))


async def fails(store):
    def broken(tx):
        raise ports.StoreUnavailable("gone")

    store._long_reading.octets = lambda *_, **__: broken(None)


def test_raw_returns_the_whole_message(tmp_path, monkeypatch):
    (status, headers, body, is_whole), logged = raw_while(tmp_path, monkeypatch, after=1, happens=nothing)
    assert (status, is_whole, logged) == (200, True, [])
    assert body.endswith(LARGE)
    assert headers["content-length"] == str(len(body))


@pytest.mark.parametrize("after", [1, 2])
def test_raw_closes_the_connection_and_logs_nothing_if_the_message_is_purged_meanwhile(tmp_path, monkeypatch, after):
    (status, headers, body, is_whole), logged = raw_while(tmp_path, monkeypatch, after=after, happens=purged)
    assert (status, is_whole, logged) == (200, False, [])
    assert len(body) < int(headers["content-length"])


def test_a_failure_of_the_store_while_raw_reads_a_message_is_logged(tmp_path, monkeypatch):
    (_, headers, body, is_whole), logged = raw_while(tmp_path, monkeypatch, after=1, happens=fails)
    assert not is_whole
    assert len(body) < int(headers["content-length"])
    assert [(type(event), event.where) for event in logged] == [(events.StoreFailed, "inspection")]
    assert uuid.UUID(logged[0].id)


def test_raw_of_a_message_whose_first_part_is_incomplete_is_not_found(tmp_path):
    async def scenario(client):
        shortened = "UPDATE message_bodies SET octets = x'00', checksum = NULL"
        await client.store.write(lambda tx: tx.connection.execute(shortened))
        return await client.get("messages/large/raw?address=x@example.com")

    status, _, body, _ = with_client(tmp_path, scenario)
    assert (status, json.loads(body)) == (404, {"error": "Message large is being deleted."})
