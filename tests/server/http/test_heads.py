"""Every byte of a response arrives unchanged in every client, also if the body looks like HTTP or is split anywhere."""

import shutil

import pytest

from tests.kit.peers.http_clients import CLIENTS
from tests.kit.servers.http_server import all_of, answer, read_body, served, until

ADVERSARIAL = {
    "a response": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "a header without its end": b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: x\r\n",
    "100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "chunks": b"5\r\nhello\r\n0\r\n\r\n",
    "line ends": b"\r\n\r\n\n\r\r\n",
    "headers": b"\r\ndate: x\r\ncontent-type: y\r\nconnection: close\r\nx-amzn-requestid: z\r\n",
}
FRAMINGS = ("length", "chunked")


async def application(scope, receive, send):
    """Answers /CONTENT/FRAMING/CUT with a body that is written in two parts, or byte by byte if CUT is `each`."""
    await read_body(receive)
    if scope["path"] == "/after":
        await answer(send, b"after")
        return
    _, name, framing, cut = scope["path"].replace("_", " ").split("/")
    content = ADVERSARIAL[name]
    if cut == "each":
        parts = [content[at : at + 1] for at in range(len(content))]
    else:
        parts = [content[: int(cut)], content[int(cut) :]]
    await answer(send, *parts, length=False if framing == "chunked" else None)


@pytest.fixture(scope="module")
def server():
    with served(application) as server:
        yield server


def paths(name, framing):
    """Return a path for every position at which the body can be split."""
    cuts = [*range(len(ADVERSARIAL[name]) + 1), "each"]
    return [f"/{name.replace(' ', '_')}/{framing}/{cut}" for cut in cuts]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_body_arrives_unchanged_wherever_it_is_split(server, name, framing, client):
    if client == "curl" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    requested = [each for path in paths(name, framing) for each in (path, "/after")]
    opened = server.opened
    assert list(CLIENTS[client](server.address, requested, {})) == [ADVERSARIAL[name], b"after"] * (len(requested) // 2)
    assert server.opened == opened + 1


def test_the_header_and_the_beginning_of_the_body_are_sent_in_one_write(server):
    client = server.client(b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n")
    assert until(client, b"after").count(b"HTTP/1.1") == 1
    written = []
    connection = server.connection
    transport = connection.transport

    class Counted:
        def write(self, octets):
            written.append(bytes(octets))
            transport.write(octets)

        def __getattr__(self, name):
            return getattr(transport, name)

    connection.transport = Counted()
    client.sendall(b"GET /a_response/length/7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    response = all_of(client)
    head, _, body = response.partition(b"\r\n\r\n")
    assert body == ADVERSARIAL["a response"]
    assert written[0] == head + b"\r\n\r\n" + body[:7]
    client.close()


def test_100_continue_is_sent_before_the_header_of_the_response(server):
    head = b"POST /chunks/length/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    client = server.client(head)
    assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"{}")
    assert until(client, ADVERSARIAL["chunks"]).startswith(b"HTTP/1.1 200 OK\r\n")
    client.close()


async def fails_after_the_header(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
    raise RuntimeError("on purpose")


def test_a_header_without_a_body_is_sent_and_the_connection_is_closed():
    with served(fails_after_the_header) as server, server.client(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        response = all_of(client)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\n\r\n")
