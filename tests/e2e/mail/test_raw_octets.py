"""A message whose text looks like HTTP is downloaded unchanged, and so are later responses on that connection."""

import base64
import json
import shutil

import pytest

from tests.kit.peers.http_clients import CLIENTS
from tests.kit.servers.running import System
from waypost import testing
from waypost.app.mail.copies import PART

FORGED = b'{"forged": "by the sender"}'
LIKE_HTTP = [
    b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: x\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(FORGED), FORGED),
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"0\r\n\r\n",
]


def with_text_at_each_boundary(parts):
    """Return a message of `parts` parts. Each part except the first begins with text that looks like HTTP."""
    message = b"Subject: hello\r\n\r\n"
    for number in range(1, parts):
        filler = number * PART - len(message)
        lines = filler // 78 - 1
        message += (b"x" * 76 + b"\r\n") * lines + b"y" * (filler - 78 * lines - 2) + b"\r\n"
        assert len(message) == number * PART
        message += LIKE_HTTP[number % len(LIKE_HTTP)]
    return message + LIKE_HTTP[1] * 10


@pytest.fixture(scope="module")
def system():
    with testing.server("--hostname", "mail.example") as server:
        system = System(server)
        yield system
        system.connect.close()


@pytest.fixture(scope="module")
def message(system):
    address, octets = system.new_address(), with_text_at_each_boundary(2 * len(LIKE_HTTP) + 1)
    return system.deliver(octets, address), address, octets


@pytest.mark.parametrize("client", CLIENTS)
def test_mail_that_looks_like_http_is_downloaded_as_it_was_sent(system, message, client):
    if client == "curl" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    message_id, address, octets = message
    key, (host, _, port) = system.server.profile.key, system.server.run.http.rpartition(":")
    credentials = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    raw = f"/_waypost/messages/{message_id}/raw?address={address}"
    paths = [raw, "/_waypost/queue", raw, "/_waypost/queue"]
    found = list(CLIENTS[client]((host, int(port)), paths, {"Authorization": f"Basic {credentials}"}))
    assert all(body.endswith(b"\r\n" + octets) for body in found[::2])
    assert [json.loads(body) for body in found[1::2]] == [{"deliveries": [], "destinations": [], "is_held": False}] * 2
