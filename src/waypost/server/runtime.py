"""Sets up, runs and ends the process of a server. This module applies all process-wide settings of a server.

With these settings, only the owner can access new files, and the process may open as many files as the system allows.
The log lines of libraries go to the server's log, and the garbage collector runs less often. SIGTERM, SIGINT, and the
loss of the terminal stop the server gracefully.

SIGHUP has two meanings. SIGHUP can mean that the terminal is gone, or that a program that rotates logs or renews
certificates asks the server to read its files again. If the process had a terminal at its start and has none now,
SIGHUP means that the terminal is gone. Under `nohup`, the process keeps ignoring SIGHUP.

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
from dataclasses import dataclass
from typing import Any, Protocol

from waypost.host.run_file import Run
from waypost.observe import events, logs
from waypost.observe.tasks import Tasks

COLLECT_AFTER = 20_000
"""The number of new objects after which the garbage collector runs. Python's default is 700."""


class ServerFailed(Exception):
    """The server must end. The error message names the task that failed, and the log line with the cause."""


@dataclass(frozen=True, slots=True)
class Process:
    """The resources that the process provides to a server."""

    emit: events.Emit
    """Writes an event to the log."""
    files: float
    """The number of files that the process may have open at the same time."""


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

    def reopen(self) -> None:
        """Reload the files that another program may have replaced."""
        ...


@contextmanager
def process_of_a_server(log: logs.Log) -> Iterator[Process]:
    """Set up this process for a server that writes to `log`. Enter this context before you create the server.

    When the context ends, all log lines have been written.
    """
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [logs.LibraryErrors(log.emit)]
    try:
        with new_files_are_private():
            yield Process(log.emit, most_files())
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
    """Turn off a library's logging. Use this function only if the library raises an exception for each error that it
    logs, and if its other log lines are not needed.
    """
    logging.getLogger(library).disabled = True


def collect_less_garbage() -> None:
    """Make the garbage collector run less often. Call this function after the server has started.

    The objects that exist once the server has started live until the process ends, so the collector need not scan them
    again. The objects that a call or a message creates are nearly always freed without the collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def run(server: Runs, when_ready: Callable[[Run], None], *, supervisor_pipe: int | None = None) -> None:
    """Start a server, pass its addresses to `when_ready`, and stop the server when a signal arrives.

    `supervisor_pipe` is the file descriptor of a pipe whose other end only the supervisor holds. The server also stops
    when the supervisor has ended.

    Raises the errors that prevent the server from starting, and `ServerFailed` if a task that the server needs has
    ended.
    """
    signals = Signals(server.reopen)
    started = await server.start()
    # Before this call there is no work to finish, so a signal ends the process immediately, even while the start
    # waits for another server's migration.
    signals.handle_stop_signals()
    if supervisor_pipe is not None:
        signals.stop_at_end_of(supervisor_pipe)
    collect_less_garbage()
    failed = asyncio.ensure_future(server.tasks.failed())
    try:
        when_ready(started)
        either: list[asyncio.Future[Any]] = [signals.stop, failed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not signals.stop.done():
            where, incident = failed.result()
            raise ServerFailed(f"A task of the server ({where}) ended with an error. See id {incident.id} in the log.")
        server.emit(events.Stopping(signal=signals.stop.result()))
    finally:
        failed.cancel()
        await server.stop()


class Signals:
    """Handles the signals of the process, on the running event loop."""

    def __init__(self, reopen: Callable[[], None]) -> None:
        """Install a handler for SIGHUP. The handler stops the server if the process has lost its terminal; otherwise it
        calls `reopen`. If the process already ignores SIGHUP, no handler is installed.
        """
        self._loop = asyncio.get_running_loop()
        self.stop: asyncio.Future[str] = self._loop.create_future()
        """A future that is done when the server should stop. The result is the name of the signal."""
        self._reopen = reopen
        self._had_terminal = has_terminal()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def handle_stop_signals(self) -> None:
        """Install handlers that stop the server gracefully on SIGTERM and SIGINT. Before this call, SIGTERM and SIGINT
        end the process immediately.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, number)

    def stop_at_end_of(self, pipe: int) -> None:
        """Stop the server when the other end of a pipe is closed."""
        self._loop.add_reader(pipe, self._stop_without_supervisor, pipe)

    def _stop_without_supervisor(self, pipe: int) -> None:
        self._loop.remove_reader(pipe)
        if not self.stop.done():
            self.stop.set_result("the supervisor ended")

    def _stop(self, number: signal.Signals) -> None:
        if not self.stop.done():
            self.stop.set_result(number.name)

    def _hang_up(self) -> None:
        if self._had_terminal and not has_terminal():
            self._stop(signal.SIGHUP)
        else:
            self._reopen()


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that still exists."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
