"""Calls of the API, which the server answers without ASGI."""

import asyncio
import re
from contextlib import suppress

import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.http_server import EchoCalls, all_of, echo, served, until
from waypost.api.wire.http import Response
from waypost.observe import events
from waypost.server.http.connection import REST_OCTETS

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
CLOSE = b"Connection: close\r\n"
PREFIX = "/_asgi/"


class Calls(EchoCalls):
    """Answers each path with the response that a test has prepared for it, or echoes the request."""

    def __init__(self, **prepared):
        self.prepared = prepared
        self.received = []

    async def answer(self, request, *, peer, request_id, is_secure):
        self.received.append((request, peer, request_id))
        prepared = self.prepared.get(request.raw_path[1:])
        if prepared is None:
            return await super().answer(request, peer=peer, request_id=request_id, is_secure=is_secure)
        return await prepared()


def calling(calls, **options):
    return served(echo, calls=calls, prefixes=(PREFIX,), **options)


def always(response):
    async def answer():
        return response

    return answer


def test_only_paths_with_the_prefix_go_to_the_asgi_application():
    calls = Calls()
    with calling(calls) as server, server.client(GET % (b"_asgi/x", b"") + GET % (b"_asgix", CLOSE)) as client:
        said = all_of(client)
    assert said.count(b" 200 OK") == 2
    assert [request.raw_path for request, _, _ in calls.received] == ["/_asgix"]


def test_a_call_is_received_as_the_client_sent_it():
    calls = Calls()
    head = b"PUT /a%%2Fb?x=%%C3%%A4&y HTTP/1.1\r\nHost: x\r\nX-Amz-Date: \t d \t\r\nname: \xe4\r\nName:\r\n%s\r\nbody"
    with calling(calls) as server, server.client(head % (CLOSE + b"Content-Length: 4\r\n")) as client:
        all_of(client)
    ((request, peer, request_id),) = calls.received
    assert (request.method, request.raw_path, request.body, peer) == ("PUT", "/a%2Fb", b"body", "127.0.0.1")
    assert request.query == "x=%C3%A4&y"
    names = [("host", "x"), ("x-amz-date", "d"), ("name", "\udce4"), ("name", "")]
    assert request.headers == (*names, ("connection", "close"), ("content-length", "4"))
    assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", request_id)


DATE = rb"Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n"
HEADS = {
    "kept": (
        Response(200, b"{}"),
        b"",
        rb"HTTP/1.1 200 OK\r\n" + DATE + rb"Content-Type: application/json\r\nContent-Length: 2\r\n"
        rb"Connection: keep-alive\r\nx-amzn-RequestId: \S{36}\r\n\r\n\{\}",
    ),
    "closed, with an error and a header": (
        Response(409, b"{}", error_type="Conflict", headers=((b"x-name", b"value"),)),
        CLOSE,
        rb"HTTP/1.1 409 Conflict\r\n" + DATE + rb"Content-Type: application/json\r\nContent-Length: 2\r\n"
        rb"x-amzn-RequestId: \S{36}\r\nx-name: value\r\nx-amzn-ErrorType: Conflict\r\n"
        rb"Connection: close\r\n\r\n\{\}",
    ),
}


@pytest.mark.parametrize(("response", "field", "expected"), HEADS.values(), ids=HEADS)
def test_the_head_of_a_response_is_as_aws_writes_it(response, field, expected):
    with calling(Calls(x=always(response))) as server, server.client(GET % (b"x", field)) as client:
        assert re.fullmatch(expected, until(client, b"{}"))


def test_every_response_has_a_unique_request_id():
    calls = Calls()
    with calling(calls) as server, server.client(GET % (b"x", b"") * 3 + GET % (b"x", CLOSE)) as client:
        all_of(client)
    assert len({request_id for _, _, request_id in calls.received}) == 4


def test_the_response_to_head_has_no_body():
    with calling(Calls()) as server, server.client(b"HEAD /x HTTP/1.1\r\nHost: x\r\n%s\r\n" % CLOSE) as client:
        said = all_of(client)
    assert b"\r\nContent-Length: 8\r\n" in said
    assert said.endswith(b"\r\n\r\n")


def test_a_body_beyond_the_limit_is_answered_before_it_is_complete():
    calls = Calls(x=always(Response(413, b"{}")))
    size = 2 * Calls.body_limit
    with (
        calling(calls) as server,
        server.client(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size) as client,
    ):
        client.sendall(b"x" * (Calls.body_limit + 1))
        assert until(client, b"{}").startswith(b"HTTP/1.1 413 ")
        ((request, _, _),) = calls.received
        assert len(request.body) > Calls.body_limit
        client.sendall(b"x" * (size - Calls.body_limit - 1) + GET % (b"after", CLOSE))
        assert all_of(client).endswith(b"GET /after ")
    assert len(calls.received) == 2


def test_a_client_that_sends_a_far_too_large_body_at_once_can_read_the_refusal():
    calls = Calls(x=always(Response(413, b"{}")))
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * REST_OCTETS)
    with calling(calls) as server, server.client(b"") as client:
        with suppress(ConnectionError):
            client.sendall(head + bytes(2 * REST_OCTETS))
        assert until(client, b"{}").startswith(b"HTTP/1.1 413 ")


def test_a_call_that_the_client_does_not_complete_is_not_answered():
    calls = Calls()
    with calling(calls) as server:
        with server.client(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbod"):
            wait_until(lambda: server.connection.exchange)
        wait_until(lambda: not server.connections)
    assert (calls.received, server.emitted) == ([], [])


async def fails():
    raise RuntimeError("on purpose")


@pytest.mark.parametrize(
    "prepared", [fails, always(Response(200, b"", headers=((b"x", b"a\r\nb: c"),)))], ids=["error", "line end"]
)
def test_a_call_that_fails_gets_500_and_the_error_is_logged(prepared):
    with calling(Calls(x=prepared)) as server, server.client(GET % (b"x", b"")) as client:
        said = all_of(client)
    assert said.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert said.endswith(b"\r\n\r\nInternal Server Error")
    (event,) = server.emitted
    assert (type(event), event.where) == (events.Failed, "http")


def test_calls_that_arrive_during_a_slow_call_are_answered_in_order():
    may_answer = asyncio.Event()

    async def slow():
        await may_answer.wait()
        return Response(200, b"slow")

    calls = Calls(slow=slow)
    with calling(calls) as server, server.client(GET % (b"slow", b"") + GET % (b"2", CLOSE)) as client:
        wait_until(lambda: server.connection.pipeline)
        assert len(calls.received) == 1
        server.on_loop(may_answer.set)
        said = all_of(client)
    assert said.index(b"\r\n\r\nslow") < said.index(b"GET /2 ")


def test_a_client_that_does_not_read_gets_no_further_responses():
    size = 4 * 1024 * 1024
    calls = Calls(x=always(Response(200, b"x" * size)))
    with calling(calls) as server, server.client(GET % (b"x", b"") * 20, receive_buffer=4096) as client:
        wait_until(lambda: server.connection.is_full)
        assert server.connection.transport.get_write_buffer_size() <= 2 * size
        assert len(calls.received) < 20
        received = 0
        while received < 20 * size:
            received += len(client.recv(1 << 20))
    assert len(calls.received) == 20


def test_a_server_that_stops_completes_the_calls_in_progress_and_closes_idle_connections():
    may_answer = asyncio.Event()

    async def slow():
        await may_answer.wait()
        return Response(200, b"slow")

    with calling(Calls(slow=slow)) as server, server.client() as idle, server.client(GET % (b"slow", b"")) as client:
        wait_until(lambda: len(server._server.shared.running) == 1)
        stopping = asyncio.run_coroutine_threadsafe(server._server.stop(), server._loop)
        assert all_of(idle) == b""
        server.on_loop(may_answer.set)
        assert all_of(client).endswith(b"slow")
        stopping.result()


@pytest.mark.parametrize(("kind", "is_ended"), [(b"text/event-stream; charset=utf-8", True), (b"text/plain", False)])
def test_a_server_that_stops_ends_streams_of_events_and_completes_other_responses(kind, is_ended):
    may_end, told = asyncio.Event(), []

    async def stream(_, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await receive()  # the end of the request
        if is_ended:
            told.append(await receive())
        else:
            await may_end.wait()
            await send({"type": "http.response.body", "body": b"ended"})

    with served(stream, calls=Calls(), prefixes=(PREFIX,)) as server, server.client(GET % (b"_asgi/x", b"")) as client:
        until(client, b"begun")
        stopping = asyncio.run_coroutine_threadsafe(server._server.stop(), server._loop)
        server.on_loop(may_end.set)
        assert (b"ended" in all_of(client)) is not is_ended
        stopping.result()
    assert told == ([{"type": "http.disconnect"}] if is_ended else [])
