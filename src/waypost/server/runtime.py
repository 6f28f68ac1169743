"""Sets up, runs and ends the process of a server. This module applies all process-wide settings of a server.

With these settings, only the owner can access new files, and the process may open as many files as the system allows.
The log lines of libraries go to the server's log, and the garbage collector runs less often. SIGTERM, SIGINT, and the
loss of the terminal stop the server gracefully. SIGHUP reloads the settings and the files (see `hang_up`).

A `Service` does not change process-wide settings, so tests can run several services in one process.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from msgspec import Struct

from waypost.host import systemd
from waypost.host.run_file import Run
from waypost.observe import events, logs
from waypost.observe.metrics.arrays import Metrics
from waypost.observe.tasks import OnError, Tasks
from waypost.server import hang_up

COLLECT_AFTER = 20_000
"""The number of new objects after which the garbage collector runs. Python's default is 700."""


class ServerFailed(Exception):
    """The server must end. The error message names the task that failed, and the log line with the cause."""


class Process(Struct, frozen=True):
    """The resources that the process provides to a server."""

    emit: events.Emit
    """Counts an event in `metrics`, and writes it to the log."""
    metrics: Metrics
    files: float
    """The number of files that the process may have open at the same time."""
    log: logs.Log


class Runs(Protocol):
    """The part of a `Service`'s interface that `run` uses."""

    tasks: Tasks

    def emit(self, event: events.Event, /) -> None:
        """Log an event."""
        ...

    async def start(self) -> Run:
        """Start the server, and return its addresses."""
        ...

    async def stop(self) -> None:
        """Finish the work in progress, and close everything."""
        ...

    async def reload(self) -> bool:
        """Reload the settings, and the files that another program may have replaced. Return whether the settings could
        be used.
        """
        ...


@contextmanager
def process_of_a_server(log: logs.Log, metrics: Metrics) -> Iterator[Process]:
    """Set up this process for a server that writes to `log` and counts in `metrics`. Enter this context before you
    create the server.

    When the context ends, all log lines have been written.
    """
    emit = metrics.counting(log.emit)
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [logs.LibraryErrors(emit)]
    try:
        with new_files_are_private():
            yield Process(emit, metrics, most_files(), log)
    finally:
        log.close()
        root.handlers[:] = handlers


@contextmanager
def new_files_are_private() -> Iterator[None]:
    """Let only the owner access new files, so that mail and keys stay private even in a shared directory."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def most_files() -> float:
    """Raise the process's limit on open files to the system's maximum. Return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # if the system refuses, the soft limit remains in force
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else float("inf")


def silence(library: str) -> None:
    """Turn off the logging of a library and of all its modules. Use this function only if each error that the library
    logs is also reported in another way, and if its other log lines are not needed.
    """
    logger = logging.getLogger(library)
    logger.disabled, logger.propagate = True, False
    logger.handlers[:] = [logging.NullHandler()]  # otherwise Python prints the lines of the library's modules


def collect_less_garbage() -> None:
    """Make the garbage collector run less often. Call this function after the server has started.

    The objects that exist once the server has started live until the process ends, so the collector need not scan them
    again. The objects that a call or a message creates are nearly always freed without the collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def run(
    server: Runs,
    when_ready: Callable[[Run], None],
    *,
    when_reloaded: Callable[[bool], None] = lambda _: None,
    notify: Callable[[str], None] = lambda _: None,
    supervisor_pipe: int | None = None,
) -> None:
    """Start a server, pass its addresses to `when_ready`, and stop the server when a signal arrives.

    `when_reloaded` gets the result of each reload, and `notify` gets messages for systemd. `supervisor_pipe` is the
    file descriptor of a pipe whose other end only the supervisor holds. The server also stops when the supervisor has
    ended.

    Raises the errors that prevent the server from starting, and `ServerFailed` if a task that the server needs has
    ended.
    """
    signals = Signals()
    started = await server.start()
    # Before this call there is no work to finish, so a signal ends the process immediately, even while the start
    # waits for another server's migration.
    signals.handle_stop_signals()
    if supervisor_pipe is not None:
        signals.stop_at_end_of(supervisor_pipe)
    collect_less_garbage()
    failed = asyncio.ensure_future(server.tasks.failed())

    async def reload() -> None:
        while True:
            await signals.reload.wait()
            signals.reload.clear()
            notify(systemd.reloading())
            try:
                when_reloaded(await server.reload())
            finally:
                notify(systemd.READY)

    try:
        when_ready(started)
        notify(systemd.READY)
        server.tasks.start(reload, where="reload", on_error=OnError.RESTART)
        either: list[asyncio.Future[Any]] = [signals.stop, failed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not signals.stop.done():
            where, incident = failed.result()
            raise ServerFailed(f"A task of the server ({where}) ended with an error. See id {incident.id} in the log.")
        server.emit(events.Stopping(signal=signals.stop.result()))
    finally:
        failed.cancel()
        notify(systemd.STOPPING)
        await server.stop()
        signals.close()


class Signals:
    """Handles the signals of the process, on the running event loop."""

    def __init__(self) -> None:
        """Install a handler for SIGHUP. The handler stops the server if the process has lost its terminal; otherwise it
        asks for a reload. If the process already ignores SIGHUP, no handler is installed.
        """
        self._loop = asyncio.get_running_loop()
        self.stop: asyncio.Future[str] = self._loop.create_future()
        """A future that is done when the server should stop. The result is the name of the signal."""
        self.reload = asyncio.Event()
        """An event that is set when the server should reload. It is also set if SIGHUP arrived earlier."""
        self._had_terminal = hang_up.has_terminal()
        hang_up.handle(lambda: self._loop.call_soon_threadsafe(self._hang_up))
        if hang_up.was_received():
            self.reload.set()

    def handle_stop_signals(self) -> None:
        """Install handlers that stop the server gracefully on SIGTERM and SIGINT. Before this call, SIGTERM and SIGINT
        end the process immediately.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, number)

    def stop_at_end_of(self, pipe: int) -> None:
        """Stop the server when the other end of a pipe is closed."""
        self._loop.add_reader(pipe, self._stop_without_supervisor, pipe)

    def close(self) -> None:
        """Let SIGHUP have no effect while the process ends."""
        hang_up.remember()

    def _stop_without_supervisor(self, pipe: int) -> None:
        self._loop.remove_reader(pipe)
        if not self.stop.done():
            self.stop.set_result("the supervisor ended")

    def _stop(self, number: signal.Signals) -> None:
        if not self.stop.done():
            self.stop.set_result(number.name)

    def _hang_up(self) -> None:
        if self._had_terminal and not hang_up.has_terminal():
            self._stop(signal.SIGHUP)
        else:
            self.reload.set()
