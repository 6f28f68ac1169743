"""Ask the worker process that checks messages."""

import asyncio
import json
from collections.abc import AsyncIterable, Callable, Sequence

from msgspec import to_builtins

from waypost.domain.mailauth.verdicts import Claim, Verdicts
from waypost.mailauth import wire
from waypost.sandbox.process import ChildProcess, WorkerDied, launch


class CheckFailed(Exception):
    """Raised if the worker was unable to check a message. The error message is the name of the exception that was
    raised in the worker.
    """


class WorkerProcess(ChildProcess):
    """One worker process, from its start to its end."""

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
        return await launch("waypost.mailauth.worker", json.dumps(list(servers)))

    async def check(
        self, claim: Claim, octets: AsyncIterable[bytes], size: int, seconds_left: Callable[[], float]
    ) -> tuple[Verdicts, bool]:
        """Send a message to the worker, and wait for the result of its check.

        Return the verdicts, and whether all DNS queries were unanswered. Raises `WorkerDied`, `CheckFailed`, and any
        exception that `octets` raises. Raises `ValueError` if the message does not have `size` bytes.
        """
        question = {"claim": to_builtins(claim)}
        answer = await self.ask(wire.Kind.CHECK, lambda: question | {"seconds": seconds_left()}, octets, size)
        if "failed" in answer:
            raise CheckFailed(answer["failed"])
        return wire.from_json(answer["verdicts"]), answer["silent"]

    async def probe(self, seconds: float) -> bool:
        """Return whether the DNS responds within `seconds`. Raises `WorkerDied`."""
        answer = await self.ask(wire.Kind.PROBE, lambda: {"seconds": seconds})
        return bool(answer["works"])
