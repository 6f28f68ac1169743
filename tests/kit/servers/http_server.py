"""A real HTTP server on a free port and a separate event loop, for an application of a test; and raw clients."""

import asyncio
import contextlib
import socket
import threading

import uvloop
from msgspec.structs import replace

from tests.kit.patience import NEVER, PATIENCE, wait_until
from tests.kit.supervised import supervised
from waypost.api.wire.http import Response
from waypost.app.limit_state import OwnState
from waypost.config.types import Endpoint
from waypost.server.http.limits import HttpBounds
from waypost.server.http.server import HttpServer
from waypost.server.sockets import bind


class Served:
    """The server. The time for its clients passes only when the test calls `seconds`."""

    def __init__(self, application, bounds, **options):
        self.emitted = []
        self.opened = 0
        """The number of connections so far."""
        self._application = application
        self._options = {
            "ticks_a_second": int(NEVER),
            **options,
            "bounds": replace(bounds, idle=bounds.head),
            "emit": self.emitted.append,
        }
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def _run(self):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._server = HttpServer(
            self._application, tasks=supervised(self.emitted.append), limit_state=OwnState(), **self._options
        )
        enter = self._server._admission.enter

        def enter_and_count(peer):
            self.opened += 1
            return enter(peer)

        self._server._admission.enter = enter_and_count
        (bound,) = bind("http", Endpoint("127.0.0.1", 0))[0]
        self.address = bound.getsockname()
        await (self._server.start_tls if self._server.certificates else self._server.start)(bound)
        self._ready.set()
        await self._end.wait()
        for connection in list(self._server.shared.connections):
            connection.transport.abort()
        for exchange in list(self._server.shared.running):
            exchange.cancel()
        await self._server.stop()

    def stop(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def on_loop(self, function):
        """Run a function on the server's event loop, and return its result."""

        async def call():
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE)

    def seconds(self, count):
        """Let `count` seconds pass for the clients."""
        for _ in range(count):
            self.on_loop(self._server.second_passed)

    @property
    def connections(self):
        """The server's side of all connections."""
        return self.on_loop(lambda: list(self._server.shared.connections))

    @property
    def connection(self):
        """The server's side of the only connection."""
        (found,) = wait_until(lambda: self.connections)
        return found

    def client(self, octets=b"", *, source="", receive_buffer=0):
        """Connect a client, send bytes, and return its socket."""
        client = socket.socket()
        client.settimeout(PATIENCE)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            client.bind((source, 0))
        client.connect(self.address)
        client.sendall(octets)
        return client


@contextlib.contextmanager
def served(application, bounds=None, **options):
    server = Served(application, bounds or HttpBounds(), **options)
    try:
        yield server
    finally:
        server.stop()


async def read_body(receive):
    """Return the whole body of a request; None if the client has disconnected."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send, *parts, status=200, length=None):
    """Send a response whose body is written in these parts; chunked if `length` is False."""
    size = sum(map(len, parts)) if length is None else length
    headers = [(b"content-type", b"text/plain"), (b"x-amzn-requestid", b"1")]
    if length is not False:
        headers.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def echo(scope, receive, send):
    """An application that responds with the method, path and body of the request."""
    body = await read_body(receive)
    if body is not None:
        await answer(send, f"{scope['method']} {scope['path']} ".encode() + body)


class EchoCalls:
    """The same for calls, which do not use ASGI."""

    body_limit = 256 * 1024

    async def answer(self, request, *, peer, request_id, is_secure):
        return Response(200, f"{request.method} {request.raw_path} ".encode() + request.body, b"text/plain")


ECHOES = {"ASGI": {}, "calls": {"calls": EchoCalls(), "prefixes": ("/_asgi/",)}}
"""The options of a server for each kind of application that echoes requests."""


def all_of(client):
    """Return all bytes that the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            received += part
    return received


def until(client, octets):
    """Return the bytes that the server sends, up to and including `octets`."""
    received = b""
    while octets not in received:
        part = client.recv(65536)
        assert part, received
        received += part
    return received


def is_open(client):
    """Return whether the connection is open. The server must not have sent anything."""
    client.setblocking(False)
    try:
        received = client.recv(1)
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        client.settimeout(PATIENCE)
    assert not received, received
    return False
