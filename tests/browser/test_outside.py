"""The proxy of the browser tests sees each host to which a browser tries to connect."""

import socket

import pytest

from tests.browser.outside import Outside
from tests.kit.patience import PATIENCE


@pytest.mark.parametrize(
    ("sent", "hosts"),
    [
        (b"CONNECT ads.example:443 HTTP/1.1\r\n\r\n", ["ads.example:443"]),
        (b"GET http://ads.example/a.png HTTP/1.1\r\n\r\n", ["ads.example"]),
        (b"CONNECT update.googleapis.com:443 HTTP/1.1\r\n\r\n", []),
        (b"\x16\x03\x01", ["?"]),
        (b"", []),
    ],
)
def test_the_host_of_each_request_is_recorded(sent, hosts):
    with Outside() as outside:
        port = int(outside.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            client.makefile("rb").read()
        assert outside.hosts == hosts
