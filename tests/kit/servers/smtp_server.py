"""A real SMTP server on a free port, with a fake store that a test controls."""

import asyncio
import os
import re
import socket
import struct
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest
import uvloop

from tests.kit.patience import PATIENCE, until
from tests.kit.servers.connection_clock import Clock, LoopWithClock
from tests.kit.supervised import supervised
from tests.kit.values import an_email_address, in_memory, make_instance
from waypost.app.deployment import Deployment
from waypost.app.limit_state import OwnState
from waypost.app.mail.faults import FaultRules
from waypost.config.types import Endpoint
from waypost.observe import events
from waypost.server.sockets import bind
from waypost.smtp.backend.backend import Backend
from waypost.smtp.limits.admission import Admission
from waypost.smtp.limits.memory import Memory
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.server.interfaces import Listener
from waypost.smtp.server.listener import SmtpServer

HELLO = ["EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<support@example.com>", "DATA"]
MESSAGE = "\r\n".join([*HELLO, "Hello.", ".", ""]).encode()
ACCEPTED = re.compile(r"250 2\.0\.0 (?P<id>\S+) accepted")
TRY_AGAIN = re.compile(r"451 4\.3\.0 Temporary failure \(id (?P<id>[0-9a-f-]{36})\); please try again")

RESET_ON_CLOSE = struct.pack("ii", 1, 0)

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
BY_NAME = {"asyncio": LOOPS[0], "uvloop": LOOPS[1]}


class FakeStore:
    """A store in memory that raises the given errors, and commits when `gate` is open."""

    def __init__(self, *, at_read=None, at_write=None, gate_open=True):
        self.at_read, self.at_write = at_read, at_write
        self.version = None
        """The version of the directory; None, as on PostgreSQL, unless a test sets it."""
        self.reads = 0
        self.asked, self.gate = asyncio.Event(), asyncio.Event()
        if gate_open:
            self.gate.set()
        self._tx = in_memory()
        make_instance(self._tx)
        self._tx.add_email_address(an_email_address("support"), {})

    @property
    def kept(self) -> list[bytes]:
        """The messages in the store."""
        ids = [row[0] for row in self._tx.connection.execute("SELECT id FROM messages ORDER BY id")]
        return [self._tx.octets(message_id, start=0, limit=1 << 30) for message_id in ids]

    @property
    def begun(self) -> dict[str, int]:
        """The number of stored bytes of each incomplete message."""
        ids = [row[0] for row in self._tx.connection.execute("SELECT message_id FROM messages_begun")]
        pieces = "SELECT message_id, sum(length(octets)) FROM message_bodies GROUP BY message_id"
        kept = dict(self._tx.connection.execute(pieces).fetchall())
        whole = {row[0] for row in self._tx.connection.execute("SELECT id FROM messages")}
        return dict.fromkeys(ids, 0) | {id_: octets for id_, octets in kept.items() if id_ not in whole}

    def close(self):
        self._tx.connection.close()

    async def read(self, use_case):
        self.reads += 1
        if self.at_read:
            raise self.at_read
        return use_case(self._tx)

    search = read

    def directory_version(self):
        return self.version

    async def write(self, use_case, **_):
        self.asked.set()
        await self.gate.wait()
        if self.at_write:
            raise self.at_write
        return use_case(self._tx)


class Hearing:
    """Methods for clients that receive lines."""

    async def hear_until(self, start: str) -> list[str]:
        """Return the lines up to and including the first line that begins with `start`."""
        lines = [await self.hear()]
        while not lines[-1].startswith(start):
            assert lines[-1], lines
            lines.append(await self.hear())
        return lines


def abort(writer):
    """Close a connection immediately.

    A TLS connection that is already closed may raise `AttributeError` (seen with Python 3.11.2).
    """
    with suppress(AttributeError):
        writer.transport.abort()


def reset(writer):
    """Reset a connection (RST)."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


class Client(Hearing):
    """A client that sends and receives lines."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def say(self, *lines):
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def hear(self) -> str:
        """Return the next line; empty if the server has closed the connection."""
        return (await self.reader.readline()).decode().rstrip("\r\n")

    async def hear_all(self) -> list[str]:
        """Return all lines until the server closes the connection."""
        return (await self.reader.read()).decode().splitlines()


class Server(SmtpServer):
    """A server that counts the bytes that its connections have read, and whose clock a test advances."""

    def __init__(self, system, **options):
        super().__init__(system, **options)
        self.clock = Clock()
        self.octets_read = 0

    def opened(self, connection):
        connection._loop = LoopWithClock(connection._loop, self.clock)
        receive = connection._receive

        def receive_and_count(octets):
            self.octets_read += len(octets)
            receive(octets)

        connection._receive = receive_and_count
        return super().opened(connection)


class Served:
    """A server on a free port, and the events that it has emitted."""

    def __init__(self, store, bounds, authenticator, enforces, faults, **of_server):
        self.emitted: list[events.Event] = []
        self.backend = Backend(
            store=store,
            deployment=Deployment("mail.example", b"key"),
            clock=lambda: datetime.now(UTC),
            emit=self.emitted.append,
            tasks=supervised(self.emitted.append),
            admission=Admission(bounds, OwnState()),
            memory=Memory(bounds.memory),
            authenticator=authenticator,
            enforces=enforces,
            faults=faults or FaultRules(),
        )
        self.server = Server(self.backend, limits=bounds, **of_server)
        self.clock = self.server.clock

    def emitted_of(self, kind):
        return [event for event in self.emitted if isinstance(event, kind)]

    def buffer_little(self):
        """Make the send buffers of the server's sockets small."""
        with socket.socket(fileno=os.dup(self.server._servers[0].sockets[0].fileno())) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    @asynccontextmanager
    async def client(self, greeting="220 mail.example ESMTP Waypost"):
        reader, writer = await asyncio.open_connection(*self.address)
        client = Client(reader, writer)
        try:
            assert await client.hear() == greeting
            yield client
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    @asynccontextmanager
    async def silent_socket(self):
        """Connect a client socket with small buffers, which reads nothing."""
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, self.address)
            yield client

    until = staticmethod(until)

    async def until_read(self, octets):
        """Wait until the server has read `octets` bytes from its clients."""
        await until(lambda: self.server.octets_read >= octets)

    def abort(self):
        """Close all listeners and connections immediately."""
        for server in self.server._servers:
            server.close()
        for connection in self.server._connections:
            connection._transport.abort()

    async def until_nobody_is_connected(self):
        """Wait until all connections have ended. The clock is advanced only if the server has ended its side of all."""

        def have_all_ended():
            if all(map(_has_server_ended, self.server._connections)):
                self.clock.advance(self.server.limits.linger)
            return not self.server._connections

        await until(have_all_ended)

    async def stop(self):
        """Stop the server, which waits for its clients until its linger time has passed."""
        stopping = asyncio.create_task(self.server.stop())
        try:
            await self.until_nobody_is_connected()
        finally:
            async with asyncio.timeout(PATIENCE):
                await stopping


def _has_server_ended(connection):
    if connection._transport.is_closing():
        return True
    return connection._session is not None and connection._session.farewell is not None


@asynccontextmanager
async def serving(
    store=None,
    *,
    capabilities=None,
    listener=None,
    authenticator=None,
    enforces=False,
    faults=None,
    of_server=None,
    **bounds,
):
    """Run a server, and check at the end that the event loop got no unhandled exception."""
    went_wrong = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: went_wrong.append(context))
    store = store or FakeStore()
    bounds = SmtpLimits(**{"linger": 0.2, "connections_each": 1_000} | bounds)
    served = Served(store, bounds, authenticator, enforces, faults, **of_server or {})
    many = dict.fromkeys(("command_limit", "error_limit", "unknown_recipient_limit"), 1_000_000)
    capabilities = Capabilities(hostname="mail.example", **many | (capabilities or {}))
    listener = Listener(name="smtp", capabilities=capabilities, **listener or {})
    (bound,) = bind("smtp", Endpoint("127.0.0.1", 0))[0]
    served.address = bound.getsockname()
    await served.server.start(listener, bound)
    try:
        yield served
        await served.stop()
    except BaseException:
        served.abort()
        raise
    finally:
        store.close()
    assert went_wrong == []


def on_both_loops(test):
    """Decorate an async test so that it runs both on the loop of the standard library and on uvloop."""
    return pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])(_runner(test))


def on_our_loop(test):
    """Decorate a slow async test so that it runs only on uvloop, which Waypost uses."""
    return pytest.mark.parametrize("loop", LOOPS[1:], ids=["uvloop"])(_runner(test))


def run_on(loop, scenario):
    """Run an async function on the event loop with this name."""
    _run(BY_NAME[loop], scenario)


def _runner(test):
    def run(loop):
        _run(loop, test)

    run.__doc__ = test.__doc__
    return run


def _run(loop, scenario):
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 2 * PATIENCE))
