"""Tests of malformed HTTP requests (RFC 9110, RFC 9112), which the server refuses before it closes the connection."""

import socket

import pytest

WELL_FORMED = {
    "HTTP/1.1": b"GET /_waypost/health HTTP/1.1\r\nHost: x\r\n",
    "HTTP/1.0 without Host": b"GET /_waypost/health HTTP/1.0\r\n",
    "Host with a port": b"GET /_waypost/health HTTP/1.1\r\nHost: 127.0.0.1:8025\r\n",
    "Host with an IPv6 address": b"GET /_waypost/health HTTP/1.1\r\nHost: [::1]:8025\r\n",
    "Host with an underscore": b"GET /_waypost/health HTTP/1.1\r\nHost: way_post\r\n",
    "an absolute request target": b"GET http://x/_waypost/health HTTP/1.1\r\nHost: x\r\n",
    "an empty Host": b"GET /_waypost/health HTTP/1.1\r\nHost:\r\n",
}

REFUSED = {
    "no Host": (400, b"GET / HTTP/1.1\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n"),
    "two Hosts, HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n"),
    "a Host that is a URL": (400, b"GET / HTTP/1.1\r\nHost: http://x/\r\n"),
    "a Host with a space": (400, b"GET / HTTP/1.1\r\nHost: x y\r\n"),
    "a Host that is a list": (400, b"GET / HTTP/1.1\r\nHost: [x], y\r\n"),
    "gzip, then chunked": (501, b"PUT /instance HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n"),
    "gzip, then chunked, on two lines": (
        501,
        b"PUT /instance HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ),
    "chunked twice": (400, b"PUT /instance HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n"),
    "chunked twice, on two lines": (
        400,
        b"PUT /instance HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ),
    "chunked, then gzip": (400, b"PUT /instance HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n"),
    "HTTP/1.0 with Transfer-Encoding": (400, b"PUT /instance HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: x\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\nHost: x\r\n"),
}


def answer(server, octets):
    """Send bytes to the server; return everything that it sends before it closes the connection."""
    host, _, port = server.run.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(octets)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("head", WELL_FORMED.values(), ids=WELL_FORMED)
def test_a_well_formed_request_is_accepted(server, head):
    assert answer(server, head + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("status", "head"), REFUSED.values(), ids=REFUSED)
def test_a_malformed_request_is_refused_and_the_connection_is_closed(server, status, head):
    body = b"0\r\n\r\n" if b"Transfer-Encoding" in head else b""
    response = answer(server, head + b"\r\n" + body)
    assert response.startswith(b"HTTP/1.1 %d " % status), response
    assert response.lower().count(b"content-length: ") == 1
    assert b"\r\nconnection: close\r\n" in response.lower()
