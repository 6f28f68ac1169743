"""Tests of trailers after a request body: their size is limited, and they do not count as headers."""

import contextlib
import socket

import pytest

from tests.kit.patience import PATIENCE

CHUNKED = b"GET /instance HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"


@pytest.fixture
def connection(server):
    host, _, port = server.run.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        yield connection


def answer(connection):
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def test_the_server_closes_the_connection_of_a_client_that_sends_endless_trailers(connection):
    sent = 0
    connection.sendall(CHUNKED)
    with contextlib.suppress(ConnectionError):
        while sent < 64 * 1024 * 1024:
            connection.sendall(b"x: " + b"y" * 65536 + b"\r\n")
            sent += 65536
    assert sent < 16 * 1024 * 1024  # the kernel's buffers accept some data that the server never reads


def test_a_trailer_does_not_count_as_a_header(server, signed, exchange, connection):
    from waypost.api.wire.http import Request

    request = signed(Request("GET", "/instance", "", (), b""), server.profile.key)
    trailers = b"".join(f"{name}: {value}\r\n".encode() for name, value in request.headers if name != "host")
    connection.sendall(CHUNKED + trailers + b"\r\n")
    assert answer(connection).startswith(b"HTTP/1.1 403")
