"""Clients in processes of their own, so that what they cost is not taken from whoever else measures."""

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
    """The clients of a process could not do their work. The message says why."""


class Orders:
    """What the clients in a process hear from the one who measures, and tell it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.stop = asyncio.Event()
        """Set when they are to end, and also when nobody is there any more who would say so."""
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._heard)

    def ready(self) -> None:
        """Tell that everything that is to stand, stands."""
        self._pipe.send(("ready", None))

    def _heard(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self.stop.set()


Clients = Callable[[Any, Orders], Awaitable[Any]]
"""What runs in the process: it is given its plan and its orders, and returns what it found out."""


class Worker:
    """One process of clients, from the start to its result."""

    def __init__(self, clients: Clients, plan: Any, *, nice: int = 0) -> None:
        self._name = clients.__name__
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(clients, plan, nice, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self, seconds: float) -> None:
        """Raises `WorkerFailed` if that takes longer, or never comes."""
        self._receive("ready", seconds)

    def stop(self) -> None:
        """Ask it to end; `result` has what it found out."""
        self._pipe.send("stop")

    def result(self, seconds: float) -> Any:
        """What it found out. Its connections are closed. Raises `WorkerFailed`."""
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
        told = ("result", uvloop.run(_run(clients, plan, pipe)))
    except Exception:  # noqa: BLE001 - whatever it was, the one who waits for us hears of it
        told = ("failed", traceback.format_exc())
    os.set_blocking(pipe.fileno(), True)  # the loop, which is over, has made it another
    pipe.send(told)


async def _run(clients: Clients, plan: Any, pipe: Connection) -> Any:
    return await clients(plan, Orders(pipe))
