"""Tests that a server whose database hangs stops within a time limit after SIGTERM."""

import os
import signal
import smtplib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import botocore.exceptions
import psycopg
import pytest

from tests.kit.servers.running import MASTER_KEY, System, fetch, restart
from tests.kit.stores import postgresql
from tests.kit.stores.counting_proxy import CountingProxy
from waypost import testing
from waypost.host.master_key import MASTER_KEY_VARIABLE

PATIENCE = 90.0
BOUND = 30.0
"""The time, in seconds, that `testing.Server.stop` and Kubernetes wait before they kill a server."""

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.fixture
def proxy():
    with CountingProxy(postgresql.address_of(postgresql.server())) as running:
        yield running


@pytest.fixture
def system(proxy, tmp_path):
    server = testing.Server(tmp_path / "data", "--database", proxy.url(postgresql.new_database()))
    restart(server)
    system = System(server)
    yield system
    system.connect.close()
    if server._process.poll() is None:
        server._process.kill()
    server._wait_for_end()


def seconds_to_end(process, patience=PATIENCE):
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return float("inf")
    return time.monotonic() - began


def nothing(system, address):
    """No client sent a request."""


def calls_and_mail(system, address):
    """Calls and messages were waiting for their replies."""
    for ask in (system.connect.list_instances, system.new_address, lambda: system.rcpt(address)):
        threading.Thread(target=quietly, args=(ask,)).start()


def quietly(ask):
    with suppress(OSError, smtplib.SMTPException, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        ask()


def probes(system, address):
    """Readiness probes ran before, and did not wait for long."""
    assert fetch(f"{system.server.url}/_waypost/ready").status == 503


@pytest.mark.parametrize("what", [nothing, calls_and_mail, probes])
def test_a_server_whose_database_hangs_stops_within_the_time_limit(system, proxy, what):
    address = system.new_address()
    system.deliver(HELLO, address)
    proxy.hold()
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: what(system, address), range(6)))
    if what is calls_and_mail:
        time.sleep(0.5)  # until the calls are in progress, which the test cannot observe
    took = seconds_to_end(system.server._process)
    proxy.release()
    print(f"\n{what.__doc__} The server stopped after {took:.1f} s, exit code {system.server._process.returncode}.")
    assert took < BOUND


def test_a_server_whose_database_hangs_at_its_start_stops_within_the_time_limit(tmp_path):
    url = postgresql.new_database()
    with psycopg.connect(url) as other:  # like another node whose migration takes long
        other.execute("SELECT pg_advisory_xact_lock(%s)", [0x7761_7970_6F73_7401])
        command = ("serve", "--data", tmp_path / "data", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0")
        process = subprocess.Popen(
            [sys.executable, "-m", "waypost", *map(str, command), "--database", url],
            env={**os.environ, MASTER_KEY_VARIABLE: MASTER_KEY},
        )
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
        with psycopg.connect(url, autocommit=True) as admin:
            deadline = time.monotonic() + 10
            while not admin.execute(waits).fetchone()[0]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        took = seconds_to_end(process, patience=20)
    print(f"\nSIGTERM came while another node migrated; the server stopped after {took:.1f} s.")
    assert took < BOUND
