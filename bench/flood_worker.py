"""Runs clients in separate processes, so that they do not disturb the measurements of other clients."""

import asyncio
import multiprocessing
import os
import resource
import traceback
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import uvloop

_spawn = multiprocessing.get_context("spawn")


class WorkerFailed(Exception):
    """Raised if the clients in a process fail. The message gives the reason."""


class Orders:
    """The messages between the clients in a process and the benchmark."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.stop = asyncio.Event()
        """Set when the clients must stop, and when the benchmark's process has ended."""
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._heard)

    def ready(self) -> None:
        """Report that all connections are open."""
        self._pipe.send(("ready", None))

    def _heard(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self.stop.set()


Clients = Callable[[Any, Orders], Awaitable[Any]]
"""The function that runs in the process. It gets its plan and its orders, and returns its results."""


class Worker:
    """A process with clients, from its start to its result."""

    def __init__(self, clients: Clients, plan: Any, *, nice: int = 0) -> None:
        self._name = clients.__name__
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(clients, plan, nice, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the clients are ready. Raises `WorkerFailed` if this takes too long or fails."""
        self._receive("ready", seconds)

    def stop(self) -> None:
        """Tell the process to stop; `result` returns its results."""
        self._pipe.send("stop")

    def result(self, seconds: float) -> Any:
        """Return the results of the process after it has closed its connections. Raises `WorkerFailed`."""
        found = self._receive("result", seconds)
        self._process.join()
        return found

    def _receive(self, expected: str, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            raise WorkerFailed(f"{self._name}: not {expected} in {seconds:.0f} s")
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerFailed(f"{self._name}: the process ended before it was {expected}") from error
        if kind != expected:
            raise WorkerFailed(f"{self._name}: {value}")
        return value


def _work(clients: Clients, plan: Any, nice: int, pipe: Connection) -> None:
    os.nice(nice)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        outcome = ("result", uvloop.run(_run(clients, plan, pipe)))
    except Exception:  # noqa: BLE001 - the benchmark, which waits for this process, gets every error
        outcome = ("failed", traceback.format_exc())
    os.set_blocking(pipe.fileno(), True)  # the event loop, which has ended, has made the pipe non-blocking
    pipe.send(outcome)


async def _run(clients: Clients, plan: Any, pipe: Connection) -> Any:
    return await clients(plan, Orders(pipe))
