"""Control the worker process: start it, send it messages, read its answers, and kill it if it hangs."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from waypost.domain.mailauth.verdicts import Claim, Verdicts
from waypost.mailauth import wire

ENVIRONMENT = frozenset({"PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})
"""The environment variables that are passed to the worker.

Other variables are not passed, because they may contain the master key or the database password.
"""


MEMORY = {"MALLOC_ARENA_MAX": "2"}
"""The environment variable that limits how many memory arenas glibc creates.

Without the limit, glibc creates an arena for each thread, and reserves 64 MiB of address space for each arena.
"""


class WorkerDied(Exception):
    """Raised if there will be no answer, because the worker could not be started, has ended, or was killed."""


class CheckFailed(Exception):
    """Raised if the worker was unable to check a message. The error message is the name of the exception that was
    raised in the worker.
    """


class WorkerProcess:
    """One worker process, from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process, patience: float) -> None:
        self.pid = process.pid
        self.answered = False
        """Whether the worker has given at least one answer."""
        self._process = process
        self._patience = patience
        self.is_alive = True
        """Whether the worker accepts messages."""
        self._last_number = 0
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._quiet_since = time.monotonic()
        self._writing = asyncio.Lock()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, servers: Sequence[tuple[str, int]], patience: float) -> "WorkerProcess":
        """Start a worker, without waiting until it is ready.

        `patience` is the maximum time to wait for an answer, in seconds. Raises `WorkerDied` if the process cannot be
        started.
        """
        try:
            process = await cls._start(servers)
        except OSError:
            raise WorkerDied from None
        return cls(process, patience)

    @staticmethod
    async def _start(servers: Sequence[tuple[str, int]]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "waypost.mailauth.worker", json.dumps(list(servers))),
            env={name: value for name, value in os.environ.items() if name in ENVIRONMENT} | MEMORY,
            cwd="/",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A traceback may contain text from a message, which must not get into a log.
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def check(
        self, claim: Claim, octets: AsyncIterable[bytes], size: int, seconds_left: Callable[[], float]
    ) -> tuple[Verdicts, bool]:
        """Send a message to the worker, and wait for the result of its check.

        Return the verdicts, and whether all DNS queries were unanswered. Raises `WorkerDied`, `CheckFailed`, and any
        exception that `octets` raises. Raises `ValueError` if the message does not have `size` bytes.
        """
        number = self._next()
        complete = False
        try:
            async for piece in octets:
                size -= len(piece)
                if size < 0:
                    break
                for part in _parts(piece):
                    await self._write(wire.frame(number, wire.Kind.OCTETS, part))
            if size:
                raise ValueError("The message does not have the given size")
            question = {"claim": asdict(claim), "seconds": seconds_left()}
            waiting = self._ask(number)
            complete = True
            await self._write(wire.frame(number, wire.Kind.CHECK, json.dumps(question).encode("ascii")))
            answer = await waiting
        except BaseException:
            if not complete and self.is_alive:
                # Do not wait for the write: a cancelled task must end immediately, and the frame is small.
                with suppress(OSError, RuntimeError):
                    self._stdin.write(wire.frame(number, wire.Kind.FORGET))
            raise
        if "failed" in answer:
            raise CheckFailed(answer["failed"])
        return wire.from_json(answer["verdicts"]), answer["silent"]

    async def probe(self, seconds: float) -> bool:
        """Return whether the DNS responds within `seconds`. Raises `WorkerDied`."""
        number = self._next()
        waiting = self._ask(number)
        await self._write(wire.frame(number, wire.Kind.PROBE, json.dumps({"seconds": seconds}).encode("ascii")))
        answer = await waiting
        return bool(answer["works"])

    async def stop(self) -> None:
        """Kill the worker if it has not ended yet. No data is lost, because the worker stores no data."""
        if self.is_alive:
            self._kill()
        await asyncio.wait([self._listening])

    @property
    def _stdin(self) -> asyncio.StreamWriter:
        assert self._process.stdin
        return self._process.stdin

    def _next(self) -> int:
        self._last_number = self._last_number + 1 & 0xFFFF_FFFF
        return self._last_number

    def _ask(self, number: int) -> asyncio.Future[dict[str, Any]]:
        if not self.is_alive:
            raise WorkerDied
        self._pending[number] = asyncio.get_running_loop().create_future()
        return self._pending[number]

    async def _write(self, octets: bytes) -> None:
        async with self._writing:
            if not self.is_alive:
                raise WorkerDied
            try:
                self._stdin.write(octets)
                await self._stdin.drain()
            except (OSError, RuntimeError):
                raise WorkerDied from None

    async def _listen(self) -> None:
        """Pass each answer to the check that waits for it, until the worker ends or gives no answer for too long."""
        reading = asyncio.create_task(self._read())
        try:
            while True:
                await asyncio.wait([reading], timeout=self._patience / 4)
                if reading.done():
                    answer = await reading
                    self.answered = True
                    self._quiet_since = time.monotonic()
                    waiting = self._pending.pop(answer["number"], None)
                    if waiting and not waiting.done():
                        waiting.set_result(answer)
                    reading = asyncio.create_task(self._read())
                elif not self._pending and not self._stdin.transport.get_write_buffer_size():
                    self._quiet_since = time.monotonic()
                elif time.monotonic() - self._quiet_since > self._patience:
                    break  # the worker does not answer, and perhaps does not read its input
        except (asyncio.IncompleteReadError, OSError, ValueError, LookupError, TypeError):
            pass  # the worker has ended, or its output is malformed
        finally:
            self.is_alive = False
            for waiting in self._pending.values():
                if not waiting.done():
                    waiting.set_exception(WorkerDied())
                    waiting.exception()  # marks it as retrieved, so that asyncio logs nothing if no task waits for it
            with suppress(OSError, RuntimeError):
                self._stdin.close()
            await self._end(by_itself=reading.done())
            reading.cancel()

    async def _end(self, *, by_itself: bool) -> None:
        """Wait until the worker has ended, and kill it if necessary.

        A worker that is already ending by itself has one second to finish, because killing a process that is ending
        confuses asyncio.
        """
        if by_itself:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._process.wait()
        if self._process.returncode is None:
            self._kill()
            await self._process.wait()

    async def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        (size,) = wire.ANSWER.unpack(await self._process.stdout.readexactly(wire.ANSWER.size))
        answer: dict[str, Any] = json.loads(await self._process.stdout.readexactly(size))
        return answer

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


def _parts(piece: bytes) -> Iterator[bytes]:
    view = memoryview(piece)
    for start in range(0, len(view), wire.PIECE):
        yield bytes(view[start : start + wire.PIECE])
