"""How long a client may take for a header, for a body, and to read the response; and what does not count."""

import asyncio
import time

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.http_server import all_of, answer, echo, is_open, read_body, served, until
from waypost.observe import events
from waypost.server.http.limits import HttpBounds

BOUNDS = HttpBounds()
HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
KEPT = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
BODY_LATE = events.HttpConnectionClosed(peer="127.0.0.1", reason="the body of the request did not come in time")
HEAD_LATE = events.HttpConnectionClosed(peer="127.0.0.1", reason="the header of the request did not come in time")
UNREAD = events.HttpConnectionClosed(peer="127.0.0.1", reason="the client did not read the response in time")

PART = 64 * 1024
PARTS = 200


@pytest.fixture
def server():
    with served(echo) as server:
        yield server


def arrived(server, count, *, of_head=True):
    """Wait until the server has got so many octets of the present header, or behind it."""
    name = "_head_octets" if of_head else "_rest_octets"
    wait_until(lambda: getattr(server.connection, name) >= count)


def test_a_header_octet_by_octet_ends_after_its_time_with_408(server):
    with server.client(HEAD[:1]) as client:
        for second in range(int(BOUNDS.head)):
            arrived(server, second + 1)
            server.seconds(1)
            client.sendall(HEAD[second + 1 : second + 2])
        assert is_open(client)
        server.seconds(1)
        assert all_of(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert server.emitted == [HEAD_LATE]


def test_a_header_that_is_complete_in_time_is_answered(server):
    with server.client(HEAD) as client:
        arrived(server, len(HEAD))
        server.seconds(int(BOUNDS.head))
        client.sendall(b"\r\nhello")
        assert until(client, b"hello").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("said", [b"", KEPT], ids=["at once", "after a response"])
def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(server, said):
    with server.client(said) as client:
        if said:
            until(client, b"GET /x ")
        wait_until(lambda: server.connections)
        server.seconds(int(BOUNDS.head))
        assert is_open(client)
        server.seconds(1)
        assert all_of(client) == b""
    assert server.emitted == []


def test_line_ends_between_requests_buy_no_time(server):
    with server.client(KEPT) as client:
        until(client, b"GET /x ")
        for _ in range(int(BOUNDS.head)):
            client.sendall(b"\r\n")
            server.seconds(1)
        assert is_open(client)
        server.seconds(1)
        assert all_of(client).startswith(b"HTTP/1.1 408 ")


def test_a_body_octet_by_octet_ends_after_its_time_with_408_and_the_application_is_told():
    told = []

    async def application(scope, receive, send):
        told.append(await read_body(receive))

    with served(application) as server, server.client(HEAD.replace(b"5", b"500") + b"\r\n") as client:
        wait_until(lambda: server.connection.cycle)
        for second in range(int(BOUNDS.body_start)):
            client.sendall(b"x")
            arrived(server, second + 1, of_head=False)
            server.seconds(1)
        assert is_open(client)
        server.seconds(1)
        said = all_of(client)
        wait_until(lambda: told)
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert said.endswith(b"\r\n\r\nThe body of the request did not come in time.\n")
    assert told == [None]
    assert server.emitted == [BODY_LATE]


def test_a_body_that_comes_steadily_may_take_longer(server):
    size = 100_000
    with server.client(HEAD.replace(b"5", b"%d" % size) + b"\r\n") as client:
        wait_until(lambda: server.connection.cycle)
        for second in range(100):
            client.sendall(b"x" * 1000)
            arrived(server, (second + 1) * 1000, of_head=False)
            server.seconds(1)
        assert until(client, b"x" * size).startswith(b"HTTP/1.1 200 ")


def test_a_body_may_not_take_for_ever_however_steadily_it_comes():
    assert BOUNDS.body_time(10**9, is_crowded=False) == BOUNDS.body
    assert BOUNDS.answer_time(10**9, is_crowded=False) == BOUNDS.answer


def test_the_rest_of_a_body_that_was_answered_early_has_a_deadline_too():
    async def application(scope, receive, send):
        await answer(send, b"early")

    with served(application) as server, server.client(HEAD + b"\r\nx") as client:
        until(client, b"early")
        server.seconds(int(BOUNDS.body_start))
        assert is_open(client)
        server.seconds(1)
        assert all_of(client) == b""  # a 408 would be taken for the response to the next request


def test_the_time_of_the_server_does_not_count():
    is_asked, go_on = asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        await read_body(receive)
        is_asked.set()
        await go_on.wait()
        await answer(send, b"late")

    with served(application) as server, server.client(KEPT) as client:
        wait_until(is_asked.is_set)
        server.seconds(2000)
        server.on_loop(go_on.set)
        assert until(client, b"late").startswith(b"HTTP/1.1 200 ")


class Download:
    """An application that sends more than any buffers hold, and counts the parts that were asked of it."""

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
    """Wait until the server waits for the client to read."""
    wait_until(lambda: server.connection.flow.write_paused)
    return download.made


def test_a_client_that_does_not_read_its_response_is_cut_off_and_holds_little_meanwhile():
    download = Download()
    with served(download) as server, server.client(KEPT, receive_buffer=4096) as client:
        made = stalled(server, download)
        # The system takes some megabytes; here are what is written and one part more.
        assert server.connection.transport.get_write_buffer_size() <= 2 * PART
        server.seconds(int(BOUNDS.answer_start))
        assert server.connections
        server.seconds(int(made * PART / BOUNDS.slowest) + 2)
        wait_until(lambda: not server.connections)
        assert len(all_of(client)) < PARTS * PART
    assert server.emitted == [UNREAD]


def test_a_client_that_reads_slowly_but_steadily_gets_all():
    download, got, paid = Download(), 0, 0
    with served(download) as server, server.client(KEPT, receive_buffer=4096) as client:
        while got < PARTS * PART:
            part = client.recv(PART)
            assert part
            got += len(part)
            if got >= paid + 16 * BOUNDS.slowest:
                paid = got
                server.seconds(1)


def test_a_response_behind_which_the_connection_closes_is_not_held_for_ever_either():
    async def application(scope, receive, send):
        headers = [(b"content-length", b"%d" % (PARTS * PART))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * (PARTS * PART)})

    closing = KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with served(application) as server, server.client(closing, receive_buffer=4096):
        wait_until(server.connection.transport.is_closing)
        server.seconds(int(BOUNDS.answer_start))
        assert server.connections
        server.seconds(int(PARTS * PART / BOUNDS.slowest) + 2)
        wait_until(lambda: not server.connections)


def test_clients_have_less_time_when_connections_are_about_to_run_out():
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


def test_a_clock_that_goes_back_gives_nobody_more_time(monkeypatch):
    """Here seconds pass by themselves, each of a tenth of a real one."""
    real = time.time
    with served(echo, HttpBounds(head=2, body_start=2), ticks_a_second=1) as server:
        head, body = server.client(HEAD), server.client(HEAD + b"\r\nx")
        monkeypatch.setattr(time, "time", lambda: real() - 10 * 86_400)
        assert all_of(head).startswith(b"HTTP/1.1 408 ")
        assert all_of(body).startswith(b"HTTP/1.1 408 ")
        head.close()
        body.close()
