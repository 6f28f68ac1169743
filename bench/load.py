"""A small HTTP load generator that sends prepared requests over persistent connections.

`drive` runs it in a separate process, which only writes bytes and searches for the end of each response, so that the
generator itself does not limit the results.
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

CONNECTIONS = 32

TIME_LIMIT = 120.0
"""The time limit for a run, in seconds."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Result:
    """The results of one run."""

    per_second: float
    p50: float
    """The median response time, in milliseconds."""
    p99: float
    bodies: list[str]
    """The response bodies in the order of the requests, if the caller wants them."""


class LoadFailed(Exception):
    """Raised if a response is not a success."""


def drive(port: int, requests: Sequence[bytes], *, total: int, keep_bodies: bool = False) -> Result:
    """Send `total` requests, repeating the list of requests as often as necessary. Raises `LoadFailed`."""
    task = {
        "port": port,
        "requests": [request.decode("latin-1") for request in requests],
        "total": total,
        "keep_bodies": keep_bodies,
    }
    command = [sys.executable, __file__]
    done = subprocess.run(
        command, input=json.dumps(task), capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    if done.returncode:
        raise LoadFailed(done.stderr)
    return Result(**json.loads(done.stdout))


class _Run:
    """The requests that are still to be sent, and the results of the requests that were sent."""

    def __init__(self, port: int, requests: Sequence[bytes], total: int, *, keep_bodies: bool) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._todo: Iterator[tuple[int, bytes]] = ((n, requests[n % len(requests)]) for n in range(total))
        self._port = port
        self._opening: set[asyncio.Future[_Connection]] = set()
        self._total = total
        self._keep_bodies = keep_bodies
        self._seconds: list[float] = []
        self._bodies: dict[int, str] = {}

    def next(self) -> tuple[int, bytes] | None:
        return next(self._todo, None)

    def answered(self, number: int, seconds: float, head: bytes, body: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 2"):
            self.failed(head.decode("latin-1") + body.decode("latin-1"))
            return
        self._seconds.append(seconds)
        if self._keep_bodies:
            self._bodies[number] = body.decode()
        if len(self._seconds) == self._total:
            self.finished.set_result(None)

    async def connect(self) -> "_Connection":
        """Open a connection."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port))[1]

    def reconnect(self) -> None:
        """Open a connection and send the next request, because the server closes another connection."""
        opening = asyncio.ensure_future(self.connect())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        opening.add_done_callback(lambda done: done.result().send_next())

    def failed(self, why: str) -> None:
        if not self.finished.done():
            self.finished.set_exception(LoadFailed(why))

    def result(self, elapsed: float) -> Result:
        cuts = statistics.quantiles(self._seconds, n=100)
        bodies = [self._bodies[number] for number in sorted(self._bodies)]
        return Result(self._total / elapsed, cuts[49] * 1000, cuts[98] * 1000, bodies)


class _Connection(asyncio.Protocol):
    """One connection, which sends the next request when it has the response to the previous request."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(self._received, 0, end)
        size = int(length[1]) if length else 0
        if len(self._received) < end + size:
            return
        seconds = time.perf_counter() - self._sent_at
        answer, self._received = self._received, b""
        self._run.answered(self._number, seconds, answer[:end], answer[end:])
        if _CLOSES.search(answer, 0, end):
            self._is_over = True
            self._transport.close()
            self._run.reconnect()
        else:
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_over:
            self._run.failed(f"the server closed a connection: {exc}")

    def send_next(self) -> None:
        following = self._run.next()
        if following is not None:
            self._number, request = following
            self._sent_at = time.perf_counter()
            self._transport.write(request)


def _stay_awake(loop: asyncio.AbstractEventLoop) -> None:
    """Poll without sleeping, because waking a process on another core takes longer than an echo response."""
    loop.call_soon(_stay_awake, loop)


async def _measure(port: int, requests: Sequence[bytes], total: int, *, keep_bodies: bool) -> Result:
    run = _Run(port, requests, total, keep_bodies=keep_bodies)
    connections = [await run.connect() for _ in range(CONNECTIONS)]
    _stay_awake(asyncio.get_running_loop())
    began = time.perf_counter()
    for connection in connections:
        connection.send_next()
    await run.finished
    return run.result(time.perf_counter() - began)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    ready = [text.encode("latin-1") for text in given["requests"]]
    measured = uvloop.run(_measure(given["port"], ready, given["total"], keep_bodies=given["keep_bodies"]))
    # Use a buffer, because an unbuffered stream (PYTHONUNBUFFERED) may write a long string only in part.
    with open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as output:
        json.dump(asdict(measured), output)
