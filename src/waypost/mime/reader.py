"""Read messages in a worker process, so that a hostile message can neither block nor exhaust the server.

The worker starts at the first use, and ends after a minute without use.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from waypost.mime import wire
from waypost.mime.message import PARTS_LIMIT, CannotRead, MimeMessage, PartContent, SafeHtml
from waypost.sandbox.process import ChildProcess, WorkerDied, launch

SIZE_LIMIT = 50 * 1024 * 1024
"""The maximum size of a message that is read, in bytes."""

WAITING = 100
"""The maximum number of requests that wait while another request is served."""

STOPPING = "The message cannot be read, because the server is stopping."


class NoWorker(CannotRead):
    """Raised if no message can be read now."""


class NoAnswer(CannotRead):
    """Raised if the worker has not answered in time, or has ended. The message is probably the cause, but the operating
    system can also have ended the worker.
    """


class ReaderLimits(Struct, frozen=True, kw_only=True):
    """The limits of a reader, in seconds. Tests use other limits."""

    request: float = 2.0
    """The maximum time for one request, after which the worker is killed."""
    start: float = 30.0
    """The maximum time that the worker takes to start."""
    idle: float = 60.0
    """The worker ends after this time without a request."""
    waiting: int = WAITING
    """The maximum number of requests that wait."""


class Reader:
    """Reads messages. All methods raise `CannotRead`, with a sentence for people, if a message cannot be read."""

    def __init__(self, limits: ReaderLimits | None = None) -> None:
        self._limits = limits or ReaderLimits()
        self._worker: ChildProcess | None = None
        self._turn = asyncio.Lock()
        self._unfinished = 0
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_closed = False

    async def read(self, raw: bytes) -> MimeMessage:
        """Return the headers, the parts and the text of a message."""
        return wire.message_from_json(await self._ask(wire.Kind.READ, raw))

    async def part(self, raw: bytes, number: int) -> PartContent:
        """Return the decoded content of one part."""
        return wire.content_from_json(await self._ask(wire.Kind.PART, raw, number=number))

    async def html(self, raw: bytes, number: int, cid_url: Callable[[int], str], allow_remote: bool) -> SafeHtml:
        """Return the HTML of one part so that it is safe to show.

        `cid_url` returns the URL of the part with a given number, from which pictures inside the message are loaded.
        """
        urls = [cid_url(each) for each in range(1, PARTS_LIMIT + 1)]
        return wire.html_from_json(
            await self._ask(wire.Kind.HTML, raw, number=number, urls=urls, allow_remote=allow_remote)
        )

    async def text_of(self, raw: bytes) -> str:
        """Return the text of a message, for the text index. However many requests wait, this request waits too.

        Raises `OSError` if no message can be read now, and `CannotRead` if the worker has not answered twice: the text
        of a message is read once, so it must not be lost for another reason than the message itself.
        """
        try:
            try:
                answer = await self._ask(wire.Kind.TEXT, raw)
            except NoAnswer:
                answer = await self._ask(wire.Kind.TEXT, raw)
        except NoWorker as error:
            raise OSError(str(error)) from error
        text: str = answer["text"]
        return text

    async def close(self) -> None:
        """End the worker. Requests that are in progress fail."""
        self._is_closed = True
        if self._idle:
            self._idle.cancel()
        await self._end()
        if self._ending:
            await asyncio.wait([self._ending])

    async def _ask(self, kind: wire.Kind, raw: bytes, **question: object) -> dict[str, Any]:
        if len(raw) > SIZE_LIMIT:
            raise CannotRead(f"The message is larger than {SIZE_LIMIT // 1024 // 1024} MiB, so it is not read.")
        if self._unfinished > self._limits.waiting and kind is not wire.Kind.TEXT:
            raise CannotRead("Too many messages are waiting to be read. Try again later.")
        self._unfinished += 1
        if self._idle:
            self._idle.cancel()
        try:
            async with self._turn:
                answer = await self._served(kind, raw, question)
        finally:
            self._unfinished -= 1
            if not self._unfinished and not self._is_closed:
                self._idle = asyncio.get_running_loop().call_later(self._limits.idle, self._end_idle)
        if "refused" in answer:
            raise CannotRead(answer["refused"])
        return answer

    async def _served(self, kind: wire.Kind, raw: bytes, question: dict[str, object]) -> dict[str, Any]:
        """Serve one request. If there is no answer, kill the worker, because it may be busy with this request."""
        try:
            worker = await self._running()
            async with asyncio.timeout(self._limits.request):
                return await worker.ask(kind, lambda: question, _once(raw), len(raw))
        except TimeoutError:
            await self._end()
            raise NoAnswer(
                f"The message cannot be read, because reading it took more than {self._limits.request:g} seconds."
            ) from None
        except WorkerDied:
            await self._end()
            raise NoAnswer("The message cannot be read, because reading it needs too much time or memory.") from None
        except BaseException:
            await self._end()
            raise

    async def _running(self) -> ChildProcess:
        """Return the worker, which is started if necessary. Raises `CannotRead` and `WorkerDied`."""
        if self._is_closed:
            raise NoWorker(STOPPING)
        if self._worker and not self._worker.is_alive:
            await self._end()
        if self._worker is None:
            try:
                process = await launch("waypost.mime.worker")
            except OSError:
                raise NoWorker("The message cannot be read, because the server cannot start a process.") from None
            self._worker = ChildProcess(process, self._limits.start + self._limits.request)
            if self._is_closed:
                raise NoWorker(STOPPING)  # the reader was closed while the process started
            try:
                async with asyncio.timeout(self._limits.start):
                    await self._worker.ask(wire.Kind.READY, dict)
            except TimeoutError:
                raise NoWorker("The message cannot be read, because the process for it does not start.") from None
        return self._worker

    def _end_idle(self) -> None:
        if not self._unfinished:
            self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            with suppress(Exception):
                await worker.stop()


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
