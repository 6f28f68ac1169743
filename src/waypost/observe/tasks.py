"""The background tasks of a server, as one supervised group. An error that ends a task is always logged.

The group ends all of its tasks when it stops. Tasks that belong to one object, such as a connection or an attempt, are
not in the group, because that object ends them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any

from waypost.observe.incidents import Incident, Incidents

PAUSE = 1.0
"""The number of seconds to wait before restarting a task that an error has ended."""

Run = Callable[[], Coroutine[Any, Any, None]]
"""A function that creates a task's coroutine. The group calls the function each time it starts or restarts the task."""


class OnError(Enum):
    """How the group handles a task that an error has ended. In every case, the error is also logged."""

    LEAVE = auto()
    """The task is not restarted, and the server continues without it."""
    RESTART = auto()
    """The task is restarted after a pause, because the server always needs it."""
    END_SERVER = auto()
    """The server stops, because it cannot serve clients without this task. A supervisor should restart the server."""


class Tasks:
    """The background tasks of one server."""

    def __init__(self, incidents: Incidents, *, pause: float = PAUSE) -> None:
        """`pause` is the number of seconds to wait before restarting a task."""
        self._incidents = incidents
        self._pause = pause
        self._running = set[asyncio.Task[None]]()
        self._failure: tuple[str, Incident] | None = None
        self._has_failed = asyncio.Event()

    def start(self, run: Run, *, where: str, on_error: OnError) -> "asyncio.Task[None]":
        """Start a task.

        The caller may cancel the task and wait for it to end. `stop` cancels all running tasks and waits until they
        have ended. `where` appears in the log, and names the purpose of the task or the part of the server to which it
        belongs.
        """
        task = asyncio.create_task(self._supervise(run, where, on_error))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def failed(self) -> tuple[str, Incident]:
        """Wait until an error has ended a task that the server cannot run without. Return the task's `where`, and the
        incident.
        """
        await self._has_failed.wait()
        assert self._failure
        return self._failure

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        while running := list(self._running):  # a task may start another task as it ends
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
                incident = self._incidents.report(error, where=where)  # something else was cancelled
            except Exception as error:  # noqa: BLE001 - `on_error` decides what happens after an error
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
    """Return whether the current task itself was cancelled, rather than only an operation that it was waiting for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
