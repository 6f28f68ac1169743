"""The times that a client may take for a header, for a body, and to read the response."""

import asyncio
import time

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.http_server import ECHOES, all_of, answer, echo, is_open, read_body, served, until
from waypost.observe import events
from waypost.server.http.limits import HttpBounds

BOUNDS = HttpBounds()
HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
KEPT_ALIVE = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
LATE_BODY = events.HttpConnectionClosed(peer="127.0.0.1", reason="the body of the request did not arrive in time")
LATE_HEADER = events.HttpConnectionClosed(peer="127.0.0.1", reason="the header of the request did not arrive in time")
UNREAD = events.HttpConnectionClosed(peer="127.0.0.1", reason="the client did not read the response in time")

PART = 64 * 1024
PARTS = 200


@pytest.fixture(params=ECHOES.values(), ids=ECHOES)
def server(request):
    with served(echo, **request.param) as server:
        yield server


def wait_for_bytes(server, count, *, of_head=True):
    """Wait until this many bytes of the current header, or after the header, have arrived at the server."""
    name = "_head_octets" if of_head else "_rest_octets"
    wait_until(lambda: getattr(server.connection, name) >= count)


def test_a_client_that_sends_a_header_too_slowly_gets_408(server):
    with server.client(HEAD[:1]) as client:
        for second in range(int(BOUNDS.head)):
            wait_for_bytes(server, second + 1)
            server.seconds(1)
            client.sendall(HEAD[second + 1 : second + 2])
        assert is_open(client)
        server.seconds(1)
        assert all_of(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert server.emitted == [LATE_HEADER]


def test_a_request_whose_header_is_complete_in_time_is_answered(server):
    with server.client(HEAD) as client:
        wait_for_bytes(server, len(HEAD))
        server.seconds(int(BOUNDS.head))
        client.sendall(b"\r\nhello")
        assert until(client, b"hello").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", KEPT_ALIVE], ids=["a new connection", "after a response"])
def test_an_idle_connection_is_closed_without_a_response(server, sent):
    with server.client(sent) as client:
        if sent:
            until(client, b"GET /x ")
        wait_until(lambda: server.connections)
        server.seconds(int(BOUNDS.head))
        assert is_open(client)
        server.seconds(1)
        assert all_of(client) == b""
    assert server.emitted == []


def test_the_next_request_must_begin_sooner_than_the_first():
    assert BOUNDS.idle_time(is_crowded=False, has_answered=False) == BOUNDS.head
    assert BOUNDS.idle_time(is_crowded=False, has_answered=True) == BOUNDS.idle < BOUNDS.head
    assert HttpBounds(head=1).idle_time(is_crowded=False, has_answered=True) == 1
    assert HttpBounds(idle=20).idle_time(is_crowded=True, has_answered=True) == BOUNDS.start_when_crowded


def test_line_ends_between_requests_do_not_extend_the_time(server):
    with server.client(KEPT_ALIVE) as client:
        until(client, b"GET /x ")
        for _ in range(int(BOUNDS.head)):
            client.sendall(b"\r\n")
            server.seconds(1)
        assert is_open(client)
        server.seconds(1)
        assert all_of(client).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_sends_a_body_too_slowly_gets_408_and_the_application_is_notified():
    bodies = []

    async def application(scope, receive, send):
        bodies.append(await read_body(receive))

    with served(application) as server, server.client(HEAD.replace(b"5", b"500") + b"\r\n") as client:
        wait_until(lambda: server.connection.exchange)
        for second in range(int(BOUNDS.body_start)):
            client.sendall(b"x")
            wait_for_bytes(server, second + 1, of_head=False)
            server.seconds(1)
        assert is_open(client)
        server.seconds(1)
        response = all_of(client)
        wait_until(lambda: bodies)
    assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert response.endswith(b"\r\n\r\nThe body of the request did not arrive in time.\n")
    assert bodies == [None]
    assert server.emitted == [LATE_BODY]


def test_a_body_that_arrives_steadily_may_take_longer(server):
    size = 100_000
    with server.client(HEAD.replace(b"5", b"%d" % size) + b"\r\n") as client:
        wait_until(lambda: server.connection.exchange)
        for second in range(100):
            client.sendall(b"x" * 1000)
            wait_for_bytes(server, (second + 1) * 1000, of_head=False)
            server.seconds(1)
        assert until(client, b"x" * size).startswith(b"HTTP/1.1 200 ")


def test_there_is_a_maximum_time_even_for_a_steady_body_or_reader():
    assert BOUNDS.body_time(10**9, is_crowded=False) == BOUNDS.body
    assert BOUNDS.answer_time(10**9, is_crowded=False) == BOUNDS.answer


def test_the_rest_of_a_body_has_a_deadline_after_an_early_response():
    async def application(scope, receive, send):
        await answer(send, b"early")

    with served(application) as server, server.client(HEAD + b"\r\nx") as client:
        until(client, b"early")
        server.seconds(int(BOUNDS.body_start))
        assert is_open(client)
        server.seconds(1)
        assert all_of(client) == b""  # the client would read a 408 as the response to its next request


def test_the_time_that_the_server_needs_does_not_count():
    is_called, may_answer = asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        await read_body(receive)
        is_called.set()
        await may_answer.wait()
        await answer(send, b"late")

    with served(application) as server, server.client(KEPT_ALIVE) as client:
        wait_until(is_called.is_set)
        server.seconds(2000)
        server.on_loop(may_answer.set)
        assert until(client, b"late").startswith(b"HTTP/1.1 200 ")


class Download:
    """An application that sends more than any buffers can store, and counts the parts that it has sent."""

    def __init__(self):
        self.made = 0

    async def __call__(self, scope, receive, send):
        headers = [(b"content-length", b"%d" % (PARTS * PART))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(PARTS):
            self.made += 1
            await send({"type": "http.response.body", "body": b"x" * PART, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def stalled(server, download):
    """Wait until the server waits for the client to read. Return the number of parts that were sent until then."""
    wait_until(lambda: server.connection.is_full)
    return download.made


def test_a_client_that_does_not_read_uses_little_memory_and_its_connection_is_closed():
    download = Download()
    with served(download) as server, server.client(KEPT_ALIVE, receive_buffer=4096) as client:
        made = stalled(server, download)
        # The operating system buffers some megabytes. The server buffers at most two parts.
        assert server.connection.transport.get_write_buffer_size() <= 2 * PART
        server.seconds(int(BOUNDS.answer_start))
        assert server.connections
        server.seconds(int(made * PART / BOUNDS.slowest) + 2)
        wait_until(lambda: not server.connections)
        assert len(all_of(client)) < PARTS * PART
    assert server.emitted == [UNREAD]


def test_a_client_that_reads_slowly_but_steadily_gets_the_whole_response():
    download, received, paid = Download(), 0, 0
    with served(download) as server, server.client(KEPT_ALIVE, receive_buffer=4096) as client:
        while received < PARTS * PART:
            part = client.recv(PART)
            assert part
            received += len(part)
            if received >= paid + 16 * BOUNDS.slowest:
                paid = received
                server.seconds(1)


def test_the_last_response_of_a_connection_has_a_deadline_too():
    async def application(scope, receive, send):
        headers = [(b"content-length", b"%d" % (PARTS * PART))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * (PARTS * PART)})

    closing = KEPT_ALIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with served(application) as server, server.client(closing, receive_buffer=4096):
        wait_until(server.connection.transport.is_closing)
        server.seconds(int(BOUNDS.answer_start))
        assert server.connections
        server.seconds(int(PARTS * PART / BOUNDS.slowest) + 2)
        wait_until(lambda: not server.connections)


def test_clients_have_less_time_when_most_connections_are_in_use():
    with served(echo, HttpBounds(connections=4)) as server:
        clients = [server.client() for _ in range(4)]
        wait_until(lambda: len(server.connections) == 4)
        server.seconds(int(BOUNDS.start_when_crowded))
        assert all(map(is_open, clients))
        server.seconds(1)
        assert {all_of(client) for client in clients} == {b""}
    for crowded in (HttpBounds(), HttpBounds(head=1, body_start=1, answer_start=1)):
        assert crowded.head_time(is_crowded=True) == min(crowded.head, 10)
        assert crowded.body_time(0, is_crowded=True) == min(crowded.body_start, 10)
        assert crowded.answer_time(0, is_crowded=True) == min(crowded.answer_start, 10)


def test_a_clock_that_is_set_back_does_not_extend_a_deadline(monkeypatch):
    """In this test, the server counts the seconds itself, and each takes a tenth of a real second."""
    real = time.time
    with served(echo, HttpBounds(head=2, body_start=2), ticks_a_second=1) as server:
        head, body = server.client(HEAD), server.client(HEAD + b"\r\nx")
        monkeypatch.setattr(time, "time", lambda: real() - 10 * 86_400)
        assert all_of(head).startswith(b"HTTP/1.1 408 ")
        assert all_of(body).startswith(b"HTTP/1.1 408 ")
        head.close()
        body.close()
