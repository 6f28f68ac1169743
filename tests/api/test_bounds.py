"""Tests of the limits for requests of clients that are not authenticated yet."""

import http.client
import socket

import pytest

from tests.kit.patience import PATIENCE

HUGE = {
    "a header of two megabytes": b"GET / HTTP/1.1\r\nHost: x\r\nX-Huge: " + b"x" * 2_000_000,
    "a million short headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500_000,
    "a path of two megabytes": b"GET /" + b"x" * 2_000_000,
    "an endless first line": b"G" * 2_000_000,
}


def address(server):
    host, _, port = server.run.http.rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("octets", HUGE.values(), ids=HUGE.keys())
def test_an_endless_request_head_is_refused_and_the_connection_is_closed(server, octets):
    with socket.create_connection(address(server), timeout=PATIENCE) as client:
        try:
            client.sendall(octets)
            response = client.recv(100)
        except ConnectionError:
            response = b""
    assert response == b"" or response.split(b" ")[1] in (b"431", b"400")


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/_waypost/health"), ("GET", "/"), ("HEAD", "/instance")])
def test_a_response_without_a_body_is_sent(server, method, path):
    connection = http.client.HTTPConnection(*address(server), timeout=PATIENCE)
    for _ in range(2):
        connection.request(method, path)
        with connection.getresponse() as response:
            assert response.status in (200, 403)
            response.read()
    connection.close()


def test_a_client_that_expects_100_continue_gets_it(server):
    head = b"PUT /instance HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(address(server), timeout=PATIENCE) as client:
        client.sendall(head)
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"{}")
        assert client.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_the_limit_for_the_head_applies_to_each_request_on_a_connection(server):
    connection = http.client.HTTPConnection(*address(server), timeout=PATIENCE)
    for _ in range(60):
        connection.request("GET", "/_waypost/health", headers={"X-Padding": "x" * 2_000})
        with connection.getresponse() as response:
            assert response.status == 200
            response.read()
    connection.close()
