"""Pipelined requests, requests with an Upgrade field, and requests with an ambiguous body length."""

import asyncio

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.http_server import ECHOES, all_of, answer, echo, read_body, served, until
from waypost.server.http.connection import PIPELINED, HttpConnection

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
CLOSE = b"Connection: close\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
    "an unknown protocol": b"Connection: upgrade\r\nUpgrade: x/1\r\n",
}


@pytest.fixture(scope="module", params=ECHOES.values(), ids=ECHOES)
def server(request):
    with served(echo, **request.param) as server:
        yield server


def bodies(responses):
    """Return the bodies of several responses, each of which has a Content-Length."""
    found = []
    while responses:
        head, _, responses = responses.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        (size,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
        found.append(responses[:size])
        responses = responses[size:]
    return found


def in_pieces(octets, size):
    return [octets[at : at + size] for at in range(0, len(octets), size)]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_requests_after_an_upgrade_are_answered_in_order(server, upgrade, size):
    requests = GET % (b"1", upgrade) + GET % (b"2", b"") + GET % (b"3", upgrade) + GET % (b"4", CLOSE)
    with server.client() as client:
        for piece in in_pieces(requests, size):
            client.sendall(piece)
        assert bodies(all_of(client)) == [b"GET /1 ", b"GET /2 ", b"GET /3 ", b"GET /4 "]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_the_body_of_a_request_with_an_upgrade_is_not_read_as_another_request(server, upgrade, size):
    hidden = GET % (b"hidden", b"")
    chunks = b"%x\r\n%s\r\n0\r\nx-trailer: y\r\n\r\n" % (len(hidden), hidden)
    requests = b"".join(
        [
            b"POST /1 HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (upgrade, len(hidden), hidden),
            GET % (b"2", b""),
            b"POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n%s" % (upgrade, chunks),
            b"POST /4 HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n" % upgrade,
            GET % (b"5", CLOSE),
        ]
    )
    with server.client() as client:
        for piece in in_pieces(requests, size):
            client.sendall(piece)
        found = bodies(all_of(client))
    assert found == [b"POST /1 " + hidden, b"GET /2 ", b"POST /3 " + hidden, b"POST /4 ", b"GET /5 "]


def test_a_client_that_expects_100_continue_before_the_body_of_an_upgrade_gets_it(server):
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\n%sContent-Length: 2\r\nExpect: 100-continue\r\n\r\n" % UPGRADES["h2c"]
    with server.client(head) as client:
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert until(client, b"{}").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", [b"x:443", b"/x"])
def test_connect_is_refused_and_the_data_after_it_is_not_read(server, target):
    with server.client(b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target + GET % (b"2", b"")) as client:
        response = all_of(client)
    assert response.split(b" ")[1] in (b"400", b"501")
    assert response.count(b"HTTP/1.1 ") == 1


SMUGGLED = GET % (b"smuggled", b"")
BOTH = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (5 + len(SMUGGLED))
AMBIGUOUS = {
    "Content-Length twice, different": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "Content-Length twice, the same": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of Content-Lengths": b"Content-Length: 0, 0\r\n\r\n",
    "Content-Length with a sign": b"Content-Length: +0\r\n\r\n",
    "Content-Length with a hexadecimal number": b"Content-Length: 0x0\r\n\r\n",
    "Content-Length with an empty value": b"Content-Length:\r\n\r\n",
    "Content-Length beyond 64 bits": b"Content-Length: 18446744073709551616\r\n\r\n",
    "both fields": BOTH + b"\r\n0\r\n\r\n",
    "both fields, in the other order": b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "both fields, with an upgrade": UPGRADES["h2c"] + BOTH + b"\r\n0\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "a line end in a header": b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding with a tab in it": b"Transfer-Encoding: chun\tked\r\n\r\n0\r\n\r\n",
    "chunked, and another coding": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a chunk without a size": b"Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
    "a chunk whose size has a sign": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n0\r\n\r\n",
    "a chunk whose size is too large": b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n0\r\n\r\n",
    "a chunk with more than it says": b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
    "chunks with bare line ends": b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
    "a null in a header": b"X: \0\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_of_ambiguous_length_is_refused_and_the_data_after_it_is_not_answered(server, rest):
    with server.client(b"POST /1 HTTP/1.1\r\nHost: x\r\n" + rest + SMUGGLED) as client:
        response = all_of(client)
    assert b"/smuggled" not in response
    assert response == b"" or response.split(b" ")[1] in (b"400", b"501"), response
    assert response.count(b"HTTP/1.1 ") <= 1


class Slow:
    """An application whose first response stops halfway until the test sets `may_finish`."""

    def __init__(self):
        self.may_finish = asyncio.Event()

    async def __call__(self, scope, receive, send):
        await read_body(receive)
        if scope["path"] != "/slow":
            await answer(send, scope["path"].encode())
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await self.may_finish.wait()
        await send({"type": "http.response.body", "body": b"half"})


@pytest.mark.parametrize(
    "garbage", [b"\0\r\n\r\n", b"POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n"]
)
def test_a_refusal_is_never_written_into_another_response(garbage):
    """A client that reads the response by its length would read the refusal as a part of that response."""
    with served(Slow()) as server, server.client(GET % (b"slow", b"")) as client:
        response = until(client, b"half")
        client.sendall(garbage)
        response += all_of(client)
    assert response.endswith(b"\r\n\r\nhalf")
    assert response.count(b"HTTP/1.1 ") == 1


def test_a_refusal_is_never_written_before_the_response_to_an_earlier_request():
    application = Slow()

    async def waits(scope, receive, send):
        await application.may_finish.wait()
        await application(scope, receive, send)

    with served(waits) as server, server.client(GET % (b"1", b"")) as client:
        wait_until(lambda: server.connection.exchange)
        client.sendall(b"\0\r\n\r\n")
        assert all_of(client) == b""


def test_an_invalid_chunk_is_refused_and_the_application_is_notified():
    received = []

    async def application(scope, receive, send):
        received.append(await read_body(receive))

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with served(application) as server, server.client(head + b"1\r\nx\r\nz") as client:
        assert all_of(client).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        wait_until(lambda: received)
    assert received == [None]


def test_all_requests_up_to_the_pipelining_limit_are_answered(server):
    requests = b"".join(GET % (b"%d" % number, b"") for number in range(PIPELINED)) + GET % (b"end", CLOSE)
    with server.client(requests) as client:
        assert bodies(all_of(client)) == [b"GET /%d " % number for number in range(PIPELINED)] + [b"GET /end "]


@pytest.mark.parametrize("upgrade", [b"", UPGRADES["h2c"]])
def test_many_pipelined_requests_are_all_answered_and_few_of_them_wait_in_the_server(server, upgrade):
    count = 5 * PIPELINED
    waiting = []
    exchange_of = HttpConnection._exchange_of

    def counting(connection, head):
        waiting.append(len(connection.pipeline))
        return exchange_of(connection, head)

    requests = b"".join(GET % (b"%d" % number, upgrade) for number in range(count)) + GET % (b"end", CLOSE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HttpConnection, "_exchange_of", counting)
        with server.client(requests) as client:
            assert bodies(all_of(client)) == [b"GET /%d " % number for number in range(count)] + [b"GET /end "]
    assert max(waiting) <= PIPELINED


def test_a_request_with_a_body_behind_many_pipelined_requests_is_answered(server):
    body = b"x" * 50_000
    posted = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with server.client((GET % (b"", b"")) * 3 * PIPELINED + posted + GET % (b"end", CLOSE)) as client:
        found = bodies(all_of(client))
    assert found[3 * PIPELINED :] == [b"POST /body " + body, b"GET /end "]


@pytest.mark.parametrize("upgrade", [b"", UPGRADES["h2c"]])
def test_the_server_reads_no_further_requests_while_too_many_wait(upgrade):
    application = Slow()
    with served(application) as server, server.client(GET % (b"slow", b"")) as client:
        until(client, b"half")
        client.sendall((GET % (b"", upgrade)) * 2 * PIPELINED)
        connection = server.connection
        wait_until(lambda: server.on_loop(lambda: connection._unparsed))
        assert server.on_loop(lambda: len(connection.pipeline)) <= PIPELINED
        server.on_loop(application.may_finish.set)
        client.sendall(GET % (b"end", CLOSE))
        assert all_of(client).endswith(b"/end")


def test_nothing_remains_of_a_client_that_disconnects_while_its_requests_wait():
    application = Slow()
    with served(application) as server:
        with server.client(GET % (b"slow", b"") + GET % (b"2", b"")) as client:
            until(client, b"half")
            wait_until(lambda: server.connection.pipeline)
        wait_until(lambda: not server.connections)
        server.on_loop(application.may_finish.set)
        wait_until(lambda: not server.on_loop(lambda: list(server._server.shared.running)))
        assert server._server._admission.connections.count == 0
        with server.client(GET % (b"3", CLOSE)) as client:
            assert bodies(all_of(client)) == [b"/3"]
