"""Control a worker process: start it, send it requests, read its answers, and kill it if it hangs."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import suppress
from typing import Any

from waypost.sandbox import frames

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


async def launch(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a Python module as a process. Raises `OSError`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),
        env={name: value for name, value in os.environ.items() if name in ENVIRONMENT} | MEMORY,
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A traceback may contain text from a message, which must not get into a log.
        stderr=asyncio.subprocess.DEVNULL,
    )


class ChildProcess:
    """One worker process, from its start to its end.

    `patience` is the maximum time to wait for an answer, in seconds. If the worker gives no answer for longer, it is
    killed.
    """

    def __init__(self, process: asyncio.subprocess.Process, patience: float) -> None:
        self.pid = process.pid
        self.answered = False
        """Whether the worker has given at least one answer."""
        self._process = process
        self._patience = patience
        self.is_alive = True
        """Whether the worker accepts requests."""
        self._last_number = 0
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._quiet_since = time.monotonic()
        self._writing = asyncio.Lock()
        self._listening = asyncio.create_task(self._listen())

    async def ask(
        self,
        kind: int,
        question: Callable[[], object],
        octets: AsyncIterable[bytes] | None = None,
        size: int = 0,
    ) -> dict[str, Any]:
        """Send a question, and the `size` bytes that it is about. Return the members of the answer.

        `question` returns the question as JSON values when all bytes have been sent. If bytes follow the JSON of the
        answer, they are the member `octets`. Raises `WorkerDied`, and any exception that `octets` raises. Raises
        `ValueError` if there are not `size` bytes.
        """
        number = self._next()
        complete = False
        try:
            if octets:
                await self._send(number, octets, size)
            text = json.dumps(question()).encode("ascii")
            waiting = self._expect(number)
            complete = True
            await self._write(frames.frame(number, kind, text))
            return await waiting
        except BaseException:
            if not complete and self.is_alive:
                # Do not wait for the write: a cancelled task must end immediately, and the frame is small.
                with suppress(OSError, RuntimeError):
                    self._stdin.write(frames.frame(number, frames.FORGET))
            raise

    async def _send(self, number: int, octets: AsyncIterable[bytes], size: int) -> None:
        async for piece in octets:
            size -= len(piece)
            if size < 0:
                break
            for part in _parts(piece):
                await self._write(frames.frame(number, frames.OCTETS, part))
        if size:
            raise ValueError("There are not as many bytes as were announced")

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

    def _expect(self, number: int) -> asyncio.Future[dict[str, Any]]:
        if not self.is_alive:
            raise WorkerDied
        self._pending[number] = asyncio.get_running_loop().create_future()
        return self._pending[number]

    async def _write(self, octets: bytes) -> None:
        """Write one frame. The frame is written whole even if the caller's task is cancelled."""
        async with self._writing:
            if not self.is_alive:
                raise WorkerDied
            try:
                self._stdin.write(octets)
                await self._stdin.drain()
            except (OSError, RuntimeError):
                raise WorkerDied from None

    async def _listen(self) -> None:
        """Pass each answer to the request that waits for it, until the worker ends or gives no answer for too long."""
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
        head = await self._process.stdout.readexactly(frames.ANSWER.size)
        text_size, size = frames.ANSWER.unpack(head)
        answer: dict[str, Any] = json.loads(await self._process.stdout.readexactly(text_size))
        if size:
            answer["octets"] = await self._process.stdout.readexactly(size)
        return answer

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


def _parts(piece: bytes) -> Iterator[bytes]:
    view = memoryview(piece)
    for start in range(0, len(view), frames.PIECE):
        yield bytes(view[start : start + frames.PIECE])
