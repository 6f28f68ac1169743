"""The worker process, seen from the server: it is started, given messages, listened to, and killed when it hangs."""

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
"""The variables of the environment that the worker gets: others may hold the master key or the password of the
database."""


MEMORY = {"MALLOC_ARENA_MAX": "2"}
"""glibc would reserve 64 MiB of address space for each of its arenas, of which it makes one for each thread."""


class WorkerDied(Exception):
    """The worker has ended, or was killed, before it gave an answer."""


class CheckFailed(Exception):
    """The worker could not check a message: the name of the error that it met."""


class WorkerProcess:
    """One run of the worker."""

    def __init__(self, process: asyncio.subprocess.Process, patience: float) -> None:
        self.pid = process.pid
        self.answered = False
        """It has answered at least once."""
        self._process = process
        self._patience = patience
        self.is_alive = True
        """It can be given messages."""
        self._last_number = 0
        self._owed: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._quiet_since = time.monotonic()
        self._writing = asyncio.Lock()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, servers: Sequence[tuple[str, int]], patience: float) -> "WorkerProcess":
        """Start a worker, without waiting until it is ready. Raises `WorkerDied`."""
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
            # A traceback may hold what is in a mail; and what is in a mail is in no log.
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def check(
        self, claim: Claim, octets: AsyncIterable[bytes], size: int, seconds_left: Callable[[], float]
    ) -> tuple[Verdicts, bool]:
        """The verdicts, and whether the DNS was silent.

        Raises `WorkerDied`, `CheckFailed`, and what the source of octets raises.
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
                raise ValueError("The message is not as long as was said")
            question = {"claim": asdict(claim), "seconds": seconds_left()}
            waiting = self._ask(number)
            complete = True
            await self._write(wire.frame(number, wire.Kind.CHECK, json.dumps(question).encode("ascii")))
            answer = await waiting
        except BaseException:
            if not complete and self.is_alive:
                # Without waiting: whoever is cancelled may wait for nothing, and it is some octets.
                with suppress(OSError, RuntimeError):
                    self._stdin.write(wire.frame(number, wire.Kind.FORGET))
            raise
        if "failed" in answer:
            raise CheckFailed(answer["failed"])
        return wire.from_json(answer["verdicts"]), answer["silent"]

    async def probe(self, seconds: float) -> bool:
        """Does DNS work? Raises `WorkerDied`."""
        number = self._next()
        waiting = self._ask(number)
        await self._write(wire.frame(number, wire.Kind.PROBE, json.dumps({"seconds": seconds}).encode("ascii")))
        answer = await waiting
        return bool(answer["works"])

    async def stop(self) -> None:
        """Kill it, if it has not ended yet. It holds no state."""
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
        self._owed[number] = asyncio.get_running_loop().create_future()
        return self._owed[number]

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
        """Pass each answer to the check that waits for it, until the worker ends, or is silent for too long."""
        reading = asyncio.create_task(self._read())
        try:
            while True:
                await asyncio.wait([reading], timeout=self._patience / 4)
                if reading.done():
                    answer = await reading
                    self.answered = True
                    self._quiet_since = time.monotonic()
                    waiting = self._owed.pop(answer["number"], None)
                    if waiting and not waiting.done():
                        waiting.set_result(answer)
                    reading = asyncio.create_task(self._read())
                elif not self._owed and not self._stdin.transport.get_write_buffer_size():
                    self._quiet_since = time.monotonic()
                elif time.monotonic() - self._quiet_since > self._patience:
                    break  # it neither answers nor, perhaps, reads what we write
        except (asyncio.IncompleteReadError, OSError, ValueError, LookupError, TypeError):
            pass  # it has ended, or speaks nonsense
        finally:
            self.is_alive = False
            for waiting in self._owed.values():
                if not waiting.done():
                    waiting.set_exception(WorkerDied())
                    waiting.exception()  # whoever waits is told; if nobody does, nobody need be
            with suppress(OSError, RuntimeError):
                self._stdin.close()
            await self._end(by_itself=reading.done())
            reading.cancel()

    async def _end(self, *, by_itself: bool) -> None:
        """Wait until it has ended. Killing a process that is just ending would confuse asyncio, which waits for its
        end.
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
