"""The API clients of the flood, which send signed calls at a constant rate regardless of the responses."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from calls import Calls
from flood_smtp import Sample
from flood_worker import Orders

from waypost.host.credentials_file import Profile

DESCRIBE, UPDATE = "describe", "update"

TIME_LIMIT = 30.0
"""The time limit for a call, in seconds."""

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """The facts about the server that a client needs to sign calls."""

    url: str
    profile: Profile

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls to make, and their number per second."""

    target: Target
    instance_id: str
    email_address_id: str
    describes: float
    updates: float
    connections: int = 4
    """The number of persistent connections for each operation."""


class FloodCalls(Calls):
    """Record one more call."""

    def update(self, email_address_id: str, description: str) -> bytes:
        return self._signed("POST", f"{self._path}/{email_address_id}", {"Description": description})


@dataclass(slots=True)
class Answered:
    """The results of the calls."""

    samples: list[Sample] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """The delays, in seconds, with which calls began because this process had to wait for the processor."""


async def api(plan: Plan, orders: Orders) -> Answered:
    """Make both kinds of calls until told to stop. Waiting for a connection is part of a call's latency."""
    answered = Answered()
    signer = FloodCalls(plan.target, plan.instance_id)  # type: ignore[arg-type]
    number = iter(range(10**9))

    def describe() -> bytes:
        return signer.describe(plan.email_address_id)

    def update() -> bytes:
        return signer.update(plan.email_address_id, f"as it was described at the call {next(number)}")

    orders.ready()
    await asyncio.gather(
        _steadily(_Kind(DESCRIBE, plan.describes, describe), plan, orders, answered),
        _steadily(_Kind(UPDATE, plan.updates, update), plan, orders, answered),
    )
    return answered


class _Kind(NamedTuple):
    """Make the calls of one operation."""

    name: str
    rate: float
    sign: Callable[[], bytes]


async def _steadily(kind: _Kind, plan: Plan, orders: Orders, answered: Answered) -> None:
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(plan.connections):
        free.put_nowait(_Connection(plan.target.port))
    under_way = set()
    due = time.monotonic()
    while not orders.stop.is_set():
        request = kind.sign()
        await asyncio.sleep(due - time.monotonic())
        answered.late.append(max(0.0, time.monotonic() - due))
        call = asyncio.create_task(_call(kind.name, request, free, answered.samples))
        under_way.add(call)
        call.add_done_callback(under_way.discard)
        due += 1 / kind.rate
    await asyncio.gather(*under_way)


async def _call(kind: str, request: bytes, free: "asyncio.Queue[_Connection]", samples: list[Sample]) -> None:
    began = time.monotonic()
    connection = await free.get()
    try:
        async with asyncio.timeout(began + TIME_LIMIT - time.monotonic()):
            status = await connection.exchange(request)
        failure = "" if status.startswith("2") else status
    except TimeoutError:
        failure = f"no response in {TIME_LIMIT:.0f} s"
    except (OSError, asyncio.IncompleteReadError) as error:
        failure = f"connection lost ({type(error).__name__})"
    if failure:
        connection.close()
    free.put_nowait(connection)
    samples.append(Sample(kind, began, time.monotonic() - began, failure))


class _Connection:
    """A connection that is kept between calls, and opened again when necessary."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def exchange(self, request: bytes) -> str:
        """Send a request and read the whole response; return its status."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length, status = _LENGTH.search(head), _STATUS.match(head)
        await self._reader.readexactly(int(length[1]) if length else 0)
        return status[1].decode() if status else "no HTTP"

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
