"""A real server that may open only a few files reserves some of them for HTTP, and some of them for mail."""

import contextlib
import json
import smtplib
import socket

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import system_started_by

FILES = 64
MANY = 100
HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"


def with_few_files(command):
    return ["sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh", *command]


@pytest.fixture(scope="module")
def system():
    with system_started_by(with_few_files) as system:
        yield system


def host_and_port(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


@contextlib.contextmanager
def connections(address, octets):
    """Open many connections, send the same bytes on each of them, and yield their sockets."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(MANY):
            client = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
            with contextlib.suppress(ConnectionError):
                client.sendall(octets)
            opened.append(client)
        yield opened


def first_octets(client):
    with contextlib.suppress(ConnectionError):
        return client.recv(12)
    return b""


def test_the_server_logs_the_limits_of_connections_at_its_start(system):
    lines = wait_until(
        lambda: [json.loads(line) for line in system.server.log.read_text().splitlines() if "limited" in line]
    )
    assert [(line["connections"], line["http_connections"], line["files"]) for line in lines] == [(10, 10, FILES)]


def test_mail_is_accepted_while_slow_http_clients_use_all_http_connections(system):
    address = system.new_address()
    with connections(host_and_port(system.server.run.http), HALF) as clients:
        assert sum(first_octets(client) == b"HTTP/1.1 503" for client in clients[20:]) > 0
        with smtplib.SMTP(*system.server.smtp, timeout=PATIENCE) as client:
            assert client.sendmail("a@client.example", address, b"Subject: x\r\n\r\nx\r\n") == {}


def test_the_api_answers_while_mail_clients_use_all_mail_connections(system):
    with connections(system.server.smtp, b"") as clients:
        greetings = [first_octets(client)[:3] for client in clients]
        assert greetings.count(b"220") == 10
        assert greetings.count(b"421") > 0
        assert system.new_address()
