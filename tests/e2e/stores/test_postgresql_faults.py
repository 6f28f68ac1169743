"""A PostgreSQL server that stops or hangs, and recovers: meanwhile, mail is deferred, and no operator must act."""

import http.client
import re
import smtplib
import socket
import threading
import time
import urllib.parse
import uuid
from base64 import b64encode
from collections import Counter
from contextlib import contextmanager

import botocore.exceptions
import psycopg
import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import (
    ACCEPTED,
    MASTER_KEY,
    System,
    end,
    fetch,
    logged,
    restart,
    running_on,
    waypost_process,
)
from tests.kit.stores import postgresql
from tests.kit.stores.counting_proxy import CountingProxy
from tests.kit.stores.postgresql import OwnServer
from waypost import testing
from waypost.host.master_key import MASTER_KEY_VARIABLE

pytestmark = pytest.mark.slow

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789 and so on, up to the end of the line, again and again.\r\n" * 80_000
AT_ONCE = 20.0
"""A time limit in seconds. A server that waited for its database would need longer, because it waits for 30 seconds."""


@pytest.fixture(scope="module")
def database():
    with OwnServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(database):
    with CountingProxy(postgresql.address_of(database.url)) as running:
        yield running


@pytest.fixture(scope="module")
def system(database, proxy, tmp_path_factory):
    """A server that connects to its database through the proxy."""
    with running_on(proxy.url(database.new_database()), tmp_path_factory.mktemp("node") / "data") as (one,):
        yield one


def is_ready(system):
    return status(system, "ready") == 200


def status(system, page):
    return fetch(f"{system.server.url}/_waypost/{page}").status


def refusal(system):
    """Make a call that writes and a call that reads.

    For each call, return its status and error code, or None if it succeeds.
    """
    answers = []
    for call in (system.new_address, system.connect.list_instances):
        try:
            answers.append(call() and None)
        except botocore.exceptions.ClientError as error:
            answers.append((error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]))
    return answers


# At the start


def test_the_error_for_an_unreachable_database_at_the_start_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = waypost_process(
        *("serve", "--data", tmp_path / "data", "--database", f"postgresql://me:secret@127.0.0.1:{port}/name"),
        **{MASTER_KEY_VARIABLE: MASTER_KEY},
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Traceback" not in refused.stderr
    *_, sentence = refused.stderr.splitlines()
    assert sentence.startswith(f"waypost: PostgreSQL database name at 127.0.0.1:{port} cannot be used: ")
    assert "Connection refused" in sentence
    assert "secret" not in refused.stderr


# While it runs


def test_calls_and_mail_fail_temporarily_while_the_database_is_stopped(system, database):
    alias, primary = system.linked_pair()
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        client.mail("a@client.example")
        assert client.rcpt(alias)[0] == 250
        database.stop("immediate")
        answers = [client.data(HELLO), system.rcpt(alias)]
        assert refusal(system) == [(503, "ServiceUnavailable")] * 2
        assert [status(system, page) for page in ("ready", "health")] == [503, 200]
        assert system.get("messages", address=alias).status == 503
        database.start()
        wait_until(lambda: is_ready(system))
        client.rset()
        client.mail("a@client.example")
        client.rcpt(alias)
        code, text = client.data(HELLO)
    for refused, reply in answers:
        assert refused == 451
        assert reply.startswith(b"4.3.0 ")
    assert code == 250
    assert refusal(system) == [None, None]
    assert system.ids_at(primary) == system.ids_at(alias) == [ACCEPTED.fullmatch(text)["id"].decode()]
    incidents = {re.search(rb"[0-9a-f-]{36}", reply)[0].decode() for _, reply in answers}
    wait_until(lambda: incidents <= {line["id"] for line in logged(system.server, "store_failed")})


def test_the_server_is_not_ready_while_its_database_hangs(system, proxy):
    wait_until(lambda: is_ready(system))
    proxy.hold()
    try:
        began = time.monotonic()
        assert [status(system, page) for page in ("health", "ready")] == [200, 503]
        assert time.monotonic() - began < AT_ONCE
    finally:
        proxy.release()
    wait_until(lambda: is_ready(system))
    assert refusal(system) == [None, None]


def test_each_call_succeeds_or_fails_if_database_sessions_are_terminated_under_load(system, database):
    """A call that returned an error may have been carried out anyway, so the test checks only successful calls."""
    alias, primary = system.linked_pair()
    done, refused, accepted, stopped = [], [], [], threading.Event()
    callers = [
        threading.Thread(target=create_until, args=(system, stopped, done, refused)),
        threading.Thread(target=send_until, args=(system, alias, stopped, accepted)),
        threading.Thread(target=send_until, args=(system, alias, stopped, accepted)),
    ]
    for caller in callers:
        caller.start()
    with psycopg.connect(database.url, autocommit=True) as admin:
        for n in range(1, 11):
            wait_until(lambda n=n: min(len(done), len(accepted)) >= 5 * n)
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waypost'")
    stopped.set()
    for caller in callers:
        caller.join()
    assert set(refused) <= {503}
    for address in done:
        assert system.json("explain", address=address)["accepted"]
    for address in (alias, primary):
        found = Counter(system.all_ids_at(address))
        assert set(found) >= set(accepted)
        assert set(found.values()) == {1}


def create_until(system, stopped, done, refused):
    while not stopped.is_set():
        try:
            done.append(system.new_address(f"n{uuid.uuid4().hex}"))
        except botocore.exceptions.ClientError as error:
            refused.append(error.response["ResponseMetadata"]["HTTPStatusCode"])


def send_until(system, address, stopped, accepted):
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        while not stopped.is_set():
            client.mail("a@client.example")
            if client.rcpt(address)[0] == 250:
                code, text = client.data(HELLO)
                if code == 250:
                    accepted.append(ACCEPTED.fullmatch(text)["id"].decode())
            client.rset()


def test_a_server_stops_although_its_database_is_stopped(database, tmp_path):
    with running_on(database.new_database(), tmp_path / "data") as (system,):
        address = system.new_address()
        database.stop("immediate")
        assert system.rcpt(address)[0] == 451
        began = time.monotonic()
        assert system.server.stop() == 0
        assert time.monotonic() - began < AT_ONCE
        database.start()


# A large message


@contextmanager
def slow_reader(system):
    """Start to download a large message slowly, and yield the response before its body is read."""
    address = system.new_address()
    message_id = system.deliver(LARGE, address)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)  # so that the server must wait
        reader.connect(("127.0.0.1", int(system.server.run.http.rpartition(":")[2])))
        key = system.server.profile.key
        credentials = b64encode(f"{key.id}:{key.secret}".encode()).decode()
        path = f"/_waypost/messages/{message_id}/raw?{urllib.parse.urlencode({'address': address})}"
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n".encode())
        response = http.client.HTTPResponse(reader)
        response.begin()
        assert response.status == 200
        yield response
        response.close()


def test_a_download_continues_after_the_database_connections_are_cut(system, proxy):
    with slow_reader(system) as response:
        start = response.read(64 * 1024)
        proxy.cut()
        assert (start + response.read()).endswith(LARGE)


@pytest.fixture(scope="module")
def broken_off(database, tmp_path_factory):
    """A download during which PostgreSQL stops: the received bytes, the number of missing bytes, and the log."""
    server = testing.Server(tmp_path_factory.mktemp("node") / "data", "--database", database.new_database())
    restart(server)
    system = System(server)
    with slow_reader(system) as response:
        start = response.read(64 * 1024)
        database.stop("immediate")
        with pytest.raises(http.client.IncompleteRead) as broken:
            response.read()
    wait_until(lambda: logged(server, "failed", "store_failed"))
    database.start()
    wait_until(lambda: is_ready(system))
    system.connect.close()
    end(server)
    return start + broken.value.partial, broken.value.expected, logged(server, "failed", "store_failed")


def test_a_download_is_shorter_than_its_content_length_if_the_database_stops(broken_off):
    read, missing, _ = broken_off
    assert missing > 0
    assert LARGE.startswith(read[read.index(b"Subject: large") :])


def test_an_incomplete_download_is_logged_as_a_failure_of_the_store(broken_off):
    *_, log = broken_off
    assert [(line["event"], line["where"]) for line in log] == [("store_failed", "inspection")]
