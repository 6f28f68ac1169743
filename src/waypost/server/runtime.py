"""Everything process-wide, in one place: how the process of a server is set up, run and ended.

- New files are for their owner alone (umask), and as many files may be open as the system allows.
- The log lines of libraries go to the log of the server. The garbage collector runs less often.
- SIGTERM and SIGINT stop the server in order, and so does a terminal that goes away.

SIGHUP has two meanings: the kernel or the shell says that the terminal is gone, or a program that rotates logs or
renews certificates asks to read files again. The first is meant if the process had a terminal at its start and has
none now. Under `nohup` SIGHUP stays ignored.

A `Service` changes nothing of this by itself, so that tests may run several in one process.
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

from waypost.host.data_directory import Run
from waypost.observe import events, logs
from waypost.observe.tasks import Tasks

COLLECT_AFTER = 20_000
"""New objects after which the garbage collector runs; Python's default is 700."""


class ServerFailed(Exception):
    """The server cannot go on. The message says what failed, and where the log has the cause."""


@dataclass(frozen=True, slots=True)
class Process:
    """The resources of the process for a server."""

    emit: events.Emit
    """Writes to the log."""
    files: float
    """Files that may be open at once."""


class Runs(Protocol):
    """A server, as `Service` is one."""

    tasks: Tasks

    def emit(self, event: events.Event, /) -> None:
        """Log an event."""
        ...

    async def start(self) -> Run:
        """Start it; returns where it is."""
        ...

    async def stop(self) -> None:
        """Finish running work, and close everything."""
        ...

    def reopen(self) -> None:
        """Read files again that may have been replaced."""
        ...


@contextmanager
def process_of_a_server() -> Iterator[Process]:
    """Set this process up for a server, before the server is made. The log is written to its end before this ends."""
    root = logging.getLogger()
    log, handlers = logs.Log(), root.handlers[:]
    root.handlers[:] = [logs.Complaints(log.emit)]
    try:
        with new_files_are_private():
            yield Process(log.emit, most_files())
    finally:
        log.close()
        root.handlers[:] = handlers


@contextmanager
def new_files_are_private() -> Iterator[None]:
    """Only the owner may read mail and keys, also in a directory that others may enter."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def most_files() -> float:
    """How many files this process may have open, after it has asked for as many as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the system says no, the soft limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else float("inf")


def silence(library: str) -> None:
    """Let a library log nothing. Its errors are raised as well, and its other lines are not needed."""
    logging.getLogger(library).disabled = True


def collect_less_garbage() -> None:
    """Call it after the start: from then on the garbage collector finds little.

    Objects made so far stay for ever, so they need not be scanned again. Objects of a call or a message nearly never
    need the collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def run(server: Runs, when_ready: Callable[[Run], None]) -> None:
    """Start a server, report where it is, and stop it when a signal asks for that.

    Raises the errors of its start, and `ServerFailed` when a task that the server needs has ended.
    """
    asked = Signals(server.reopen)
    found = await server.start()
    # Before, there is nothing to finish: a signal ends the process at once, also while another server migrates.
    asked.obey()
    collect_less_garbage()
    failed = asyncio.ensure_future(server.tasks.failed())
    try:
        when_ready(found)
        either: list[asyncio.Future[Any]] = [asked.stop, failed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not asked.stop.done():
            where, incident = failed.result()
            raise ServerFailed(f"A task of the server ({where}) ended by an error: see id {incident.id} in the log.")
        server.emit(events.Stopping(signal=asked.stop.result()))
    finally:
        failed.cancel()
        await server.stop()


class Signals:
    """The signals of one process, on the running event loop."""

    def __init__(self, reopen: Callable[[], None]) -> None:
        """From now on SIGHUP calls `reopen`, or asks the server to stop. Where SIGHUP is ignored, it stays so."""
        self._loop = asyncio.get_running_loop()
        self.stop: asyncio.Future[str] = self._loop.create_future()
        """Done when the server should stop; its result is the name of the signal."""
        self._reopen = reopen
        self._had_terminal = _has_terminal()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def obey(self) -> None:
        """From now on SIGTERM and SIGINT stop the server in order; before, they end the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: signal.Signals) -> None:
        if not self.stop.done():
            self.stop.set_result(number.name)

    def _hang_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            self._stop(signal.SIGHUP)
        else:
            self._reopen()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
