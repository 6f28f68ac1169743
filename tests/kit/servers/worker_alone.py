"""A store, a worker, and a transport that a test controls, without servers for mail and HTTP."""

import asyncio
import itertools
import time
import uuid
from collections import deque
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from tests.kit.supervised import supervised
from tests.kit.values import NoSeal, an_email_address, make_instance
from waypost.app.deployment import Deployment
from waypost.app.mail import accept
from waypost.delivery.queue.worker import Dependencies, Worker
from waypost.domain.directory import addresses
from waypost.domain.mail import messages, routes
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.messages import Envelope
from waypost.domain.mail.routes import Route
from waypost.host.clock import VirtualClock
from waypost.observe import events
from waypost.store.sqlite.store import SqliteStore

PEER = "smtp://peer.example:25"
TAKEN = AttemptResult(protocol=Protocol.SMTP, stage=Stage.END, peer=PEER, code=250, enhanced="2.0.0", text="taken")
NOT_NOW = AttemptResult(protocol=Protocol.SMTP, stage=Stage.RCPT, peer=PEER, code=451, enhanced="4.3.0", text="not now")
NEVER = AttemptResult(protocol=Protocol.SMTP, stage=Stage.RCPT, peer=PEER, code=550, enhanced="5.1.1", text="no such")
GONE = AttemptResult(
    protocol=Protocol.SMTP, stage=Stage.CONNECT, peer=PEER, trouble=Trouble.UNREACHABLE, text="Connection refused"
)


class Scripted:
    """A transport with given results, of which the last is repeated, or with results from a function."""

    def __init__(self, *results, answer=None):
        self._results = deque(results or [TAKEN])
        self._answer = answer
        self.parcels = []
        self.running = self.most = 0
        self.closed = False

    async def attempt(self, parcel, route):
        self.parcels.append(parcel)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self._answer:
                result = self._answer(parcel, route)
                return await result if asyncio.iscoroutine(result) else result
            return self._results.popleft() if len(self._results) > 1 else self._results[0]
        finally:
            self.running -= 1

    async def close(self):
        self.closed = True


def hanging(*, first=0, then=TAKEN):
    """Return a transport that takes as many deliveries immediately as `first` says, and an event.

    All later deliveries wait until the test sets the event, and get the result `then`.
    """
    go_on = asyncio.Event()

    async def hang():
        await go_on.wait()
        return then

    transport = Scripted(answer=lambda *_: TAKEN if len(transport.parcels) <= first else hang())
    return transport, go_on


class System:
    """The objects that a test uses."""

    def __init__(self, store, worker, deps, transport):
        self.store, self.worker, self.deps, self.transport = store, worker, deps, transport
        self.clock, self.deployment = deps.clock, deps.deployment
        self.emitted = []

    async def add(self, *names):
        for name in names:
            await self.store.write(lambda tx, name=name: tx.add_email_address(an_email_address(name), {}))

    async def send(self, *names, octets=b"Subject: hello\r\n\r\nHello.\r\n", is_trusted=True, **envelope):
        """Accept a message for these addresses, and return its id."""
        recipients = [addresses.parse(f"{name}@example.com") for name in names]
        given = {"sender": "ann@client.example", "helo": "client.example", "peer": "127.0.0.1", "protocol": "ESMTP"}
        the_envelope = Envelope(recipients=tuple(one.text for one in recipients), **given | envelope)
        content = accept.examine(
            octets[: messages.end_of_header(octets)],
            hostname=self.deployment.hostname,
            sender=the_envelope.sender,
            bounce=octets if the_envelope.sender == "" else b"",
            is_trusted=is_trusted,
        )
        use_case = partial(
            accept.accept_message,
            deployment=self.deployment,
            message_id=self.deps.new_id(),
            envelope=the_envelope,
            recipients=recipients,
            content=content,
            raw=octets,
            now=self.clock(),
        )
        accepted = await self.store.write(use_case)
        await accept.store_all_planned(self.store, self.deployment, message_id=accepted.message.id, now=self.clock())
        self.worker.wake()
        return accepted.message.id

    async def rest(self):
        return await self.worker.rest()

    async def advance(self, **by):
        return await self.clock.advance(timedelta(**by), self.worker.rest)

    async def trace(self, message_id):
        return await self.store.long_read(lambda tx: tx.trace(message_id), what="the data of a test")

    async def events(self, message_id):
        return [event.kind for event in await self.trace(message_id)]

    async def delivery(self, message_id, name):
        return await self.store.long_read(lambda tx: tx.delivery(message_id, name), what="the data of a test")

    async def inbox(self, name):
        found = await self.store.long_read(
            lambda tx: tx.deliveries_at("000000000000", f"{name}@example.com", after=None, limit=100),
            what="the data of a test",
        )
        return [message for _, message in found]


@asynccontextmanager
async def a_system(
    tmp_path, transport=None, *, names=("support",), of_routes=None, start=True, beside=None, seconds=None, **deployment
):
    """Run a system with these email addresses, whose mail is routed to `PEER`.

    `beside` wraps the store of the worker. `seconds` is the worker's monotonic clock.
    """
    transport = transport or Scripted()
    of_routes = (Route(match="*", to=PEER),) if of_routes is None else of_routes
    given = Deployment(
        hostname="mx.example.com", loop_key=b"key", routes=of_routes, routes_revision=routes.revision(of_routes)
    )
    emitted = []
    clock, numbers = VirtualClock(), itertools.count()
    store = SqliteStore(tmp_path / f"{uuid.uuid4()}.sqlite3", NoSeal())
    deps = Dependencies(
        store=beside(store) if beside else store,
        monotonic=seconds or time.monotonic,
        deployment=replace(given, **deployment),
        transports=dict.fromkeys(Protocol, transport),
        clock=clock,
        emit=emitted.append,
        tasks=supervised(emitted.append),
        new_id=lambda: messages.new_id(clock(), next(numbers), b"12345678"),
    )
    worker = Worker(deps)
    system = System(store, worker, deps, transport)
    system.emitted = emitted
    await store.write(make_instance)
    await system.add(*names)
    if start:
        await worker.start()
    try:
        yield system
    finally:
        await worker.stop()
        await store.close()
    assert [event for event in emitted if isinstance(event, events.Failed)] == []
