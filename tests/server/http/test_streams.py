"""Responses that do not end (server-sent events): their time limits, slow clients, and the end of the server."""

import asyncio
import re

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.http_server import all_of, is_open, served, until
from waypost.observe import events
from waypost.server.http.limits import HttpBounds

BOUNDS = HttpBounds()
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
UNREAD = events.HttpConnectionClosed(peer="127.0.0.1", reason="the client did not read the response in time")
PART = 64 * 1024


class Stream:
    """An application whose response does not end. A test says how many bytes to send next."""

    def __init__(self):
        self.ended = []
        self.sizes = []
        self._more = asyncio.Event()

    async def __call__(self, _scope, receive, send):
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        news = asyncio.create_task(receive())  # the end of the request
        await news
        gone = asyncio.create_task(receive())
        while not gone.done():
            while self.sizes:
                await send({"type": "http.response.body", "body": b"x" * self.sizes.pop(), "more_body": True})
            await asyncio.wait([gone], timeout=0.001)
        self.ended.append((await gone)["type"])


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def server(stream):
    with served(stream) as server:
        yield server


def test_a_client_that_reads_everything_may_follow_a_stream_for_days(server, stream):
    with server.client(GET) as client:
        until(client, b"begun")
        for _ in range(3):
            server.seconds(int(BOUNDS.answer) + 1)
            stream.sizes.append(3)
            until(client, b"xxx")
        assert is_open(client)
    wait_until(lambda: stream.ended == ["http.disconnect"])
    assert server.emitted == []


def test_the_connection_of_a_client_that_does_not_read_is_closed(server, stream):
    with server.client(GET, receive_buffer=4096) as client:
        until(client, b"begun")
        server.seconds(1000)
        stream.sizes += [PART] * 400
        wait_until(lambda: server.connection.is_full)
        server.seconds(int(BOUNDS.answer_start) + 20_000_000 // int(BOUNDS.slowest))
        wait_until(lambda: UNREAD in server.emitted)
        wait_until(lambda: stream.ended == ["http.disconnect"])


def test_the_server_ends_streams_when_it_stops(server, stream):
    with server.client(GET) as client:
        client.settimeout(PATIENCE)
        until(client, b"begun")
        server.on_loop(lambda: [each.shut_down() for each in server._server.shared.connections])
        assert all_of(client) == b""
        wait_until(lambda: stream.ended == ["http.disconnect"])


def test_the_response_to_head_of_a_stream_is_complete(server, stream):
    with server.client(GET.replace(b"GET", b"HEAD") + GET) as client:
        of_head, of_get = re.split(rb"(?=HTTP/1.1 200)", until(client, b"begun"))[1:]
        assert of_head.endswith(b"\r\n\r\n")
        assert b"begun" in of_get
        wait_until(lambda: stream.ended == ["http.disconnect"])
