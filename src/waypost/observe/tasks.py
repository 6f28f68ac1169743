"""The background tasks of a server: one supervised group. No task ends unnoticed, and none outlives the group.

Tasks that belong to one object, such as a connection or an attempt, are not here: that object ends them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any

from waypost.observe.incidents import Incident, Incidents

PAUSE = 1.0
"""Seconds between the error that ended a task and its next run."""

Run = Callable[[], Coroutine[Any, Any, None]]
"""A function that makes the coroutine of a task. It is called once for each run."""


class OnError(Enum):
    """What follows when an error ends a task. It is logged in any case."""

    LEAVE = auto()
    """Nothing: the task runs once, and the server continues without it."""
    RESTART = auto()
    """The task is restarted after a pause: the server always needs it."""
    END_SERVER = auto()
    """The server stops: without this task it cannot answer its clients, and a supervisor should restart it."""


class Tasks:
    """The background tasks of one server."""

    def __init__(self, incidents: Incidents, *, pause: float = PAUSE) -> None:
        """`pause` is in seconds."""
        self._incidents = incidents
        self._pause = pause
        self._running = set[asyncio.Task[None]]()
        self._failure: tuple[str, Incident] | None = None
        self._has_failed = asyncio.Event()

    def start(self, run: Run, *, where: str, on_error: OnError) -> "asyncio.Task[None]":
        """Begin a task. Whoever starts it may cancel it and wait for it; `stop` does so for all that are left.

        `where` is for the log, and names what the task does or the part of the server that it belongs to.
        """
        task = asyncio.create_task(self._supervise(run, where, on_error))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def failed(self) -> tuple[str, Incident]:
        """Wait until an error has ended a task that the server needs. Returns where that was, and the incident."""
        await self._has_failed.wait()
        assert self._failure
        return self._failure

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        while running := list(self._running):  # a task that ends may start another one
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def _supervise(self, run: Run, where: str, on_error: OnError) -> None:
        while True:
            try:
                await run()
                return
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                incident = self._incidents.report(error, where=where)  # something that it waited for was cancelled
            except Exception as error:  # noqa: BLE001 - whatever it was, it is logged, and what follows is declared
                incident = self._incidents.report(error, where=where)
                if _is_cancelled():
                    return
            if on_error is OnError.END_SERVER:
                self._failure = self._failure or (where, incident)
                self._has_failed.set()
            if on_error is not OnError.RESTART:
                return
            await asyncio.sleep(self._pause)


def _is_cancelled() -> bool:
    """Whether somebody has cancelled the present task, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
