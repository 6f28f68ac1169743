"""A real server with short timeouts closes the connections of slow clients, and meanwhile serves other clients."""

import base64
import contextlib
import json
import smtplib
import socket
import sys
import time

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.http_server import all_of
from tests.kit.servers.running import system_started_by

pytestmark = pytest.mark.slow

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 400_000


def impatient(command):
    """Return the command for a server with short timeouts for HTTP clients."""
    assert command[:4] == [sys.executable, "-P", "-m", "waypost.testing.attached"]
    return [sys.executable, "-m", "tests.kit.servers.impatient_server", *command[4:]]


@pytest.fixture(scope="module")
def system():
    with system_started_by(impatient) as system:
        yield system


def connected(system, octets, receive_buffer=0):
    host, _, port = system.server.run.http.rpartition(":")
    client = socket.socket()
    client.settimeout(PATIENCE)
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect((host, int(port)))
    client.sendall(octets)
    return client


def reasons(system):
    lines = map(json.loads, system.server.log.read_text(encoding="utf-8").splitlines())
    return [line["reason"] for line in lines if line["event"] == "http_connection_closed"]


def is_serving_others(system):
    """Return whether the server answers an API call and accepts mail."""
    address = system.new_address()
    with smtplib.SMTP(*system.server.smtp, timeout=PATIENCE) as client:
        return client.sendmail("a@client.example", address, b"Subject: x\r\n\r\nx\r\n") == {}


def byte_by_byte(client):
    """Send single bytes for as long as the server reads them, and return its response."""
    give_up = time.monotonic() + PATIENCE
    client.settimeout(0.05)
    while time.monotonic() < give_up:
        with contextlib.suppress(TimeoutError):
            return client.recv(65536)
        client.sendall(b"x")
    raise AssertionError("the connection stays open")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "body"),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nX-Padding: ", "header"),
    ],
)
def test_a_request_that_arrives_byte_by_byte_gets_408_and_others_are_served_meanwhile(system, head, what):
    with connected(system, head) as client:
        assert is_serving_others(system)
        assert byte_by_byte(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    wait_until(lambda: f"the {what} of the request did not arrive in time" in reasons(system))


def test_the_server_closes_a_download_that_is_not_read_and_serves_others_meanwhile(system):
    address = system.new_address()
    message_id = system.deliver(LARGE, address)
    key = system.server.profile.key
    credentials = base64.b64encode(f"{key.id}:{key.secret}".encode())
    path = f"/_waypost/messages/{message_id}/raw?address={address}".encode()
    with connected(
        system, b"GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n\r\n" % (path, credentials), 4096
    ) as client:
        assert is_serving_others(system)
        wait_until(lambda: "the client did not read the response in time" in reasons(system))
        assert len(all_of(client)) < len(LARGE)
    assert system.raw(message_id, address).endswith(LARGE)
