"""The supervisor: the process that starts the worker processes of a server, replaces them, and stops them.

The supervisor owns the data directory, `run.json`, the sockets and the signals. It serves no clients, and does not open
the database. If the supervisor is killed, the worker processes notice that its end of a pipe is closed, finish their
work, and end. The supervisor has no threads and no event loop, so it can fork.

Each worker process has sockets of its own, which share the ports of the server (SO_REUSEPORT). If a worker process
dies, its sockets stay open in the supervisor, so a client that connects meanwhile waits for the replacement.
"""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import uvloop
from msgspec.structs import replace

from waypost.app.ports.failures import STORE_FAILURES
from waypost.config.settings import Settings
from waypost.host import systemd
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError
from waypost.host.run_file import Run
from waypost.host.shared_memory import SharedMemory
from waypost.observe import events, logs
from waypost.observe.incidents import Incidents
from waypost.observe.metrics.arrays import Arrays
from waypost.server import hang_up, runtime, sockets
from waypost.server.opening import CannotStart, open_log
from waypost.server.reloading import Reread, announce, run_with
from waypost.server.risks import report_risks
from waypost.server.runtime import ServerFailed
from waypost.server.service import Service
from waypost.server.supervisor import signals
from waypost.server.supervisor.reloads import Reloads
from waypost.server.supervisor.restarts import MOST, PERIOD, pause_after_failed_start, pause_before_restart
from waypost.server.supervisor.signals import Signals
from waypost.server.supervisor.worker import Ready, Report, Worker
from waypost.server.supervisor.worker_process import WorkerProcess

STOP_EVERY = 1.0
"""The number of seconds after which the supervisor repeats SIGTERM to worker processes that have not ended."""

Sockets = dict[tuple[str, int], list[socket.socket]]
"""The bound sockets of one worker process; see `WorkerProcess.sockets`."""


class Supervisor:
    """The supervisor of one server."""

    def __init__(
        self,
        settings: Settings,
        *,
        emit: events.Emit,
        arrays: Arrays,
        warn: Callable[[str], None],
        log: logs.Log | None = None,
        reread: Reread | None = None,
        has_reader: bool = False,
    ) -> None:
        """`arrays` has the metrics of all processes. The supervisor calls `warn` with each warning for the person who
        starts the server. `log` is the log to which `emit` writes. `reread` reads the settings again for a reload.
        `has_reader` is true if a person reads the output of the command.
        """
        self._settings = settings
        """The settings at the start. A reload cannot change the settings that the supervisor itself uses."""
        self._reread = reread
        self._log = log
        self._reloads = Reloads(settings, log=log, reread=reread, used=self._announce_settings)
        self._run: Run | None = None
        """The description of the running server; None until it is ready."""
        self._emit = emit
        self._arrays = arrays
        self._warn = warn
        self._has_reader = has_reader
        self._directory = DataDirectory(settings.data)
        self._memory = SharedMemory(settings.workers)
        self._sockets: list[Sockets] = []
        """The bound sockets of each worker process, in the order of their numbers."""
        self._workers: dict[int, Worker] = {}
        """The running worker processes, keyed by their numbers."""
        self._due: dict[int, float] = {}
        """The monotonic time at which to start each worker process that must be replaced, keyed by its number."""
        self._ends: list[float] = []
        """The monotonic times at which worker processes have ended without being told to, within `PERIOD`. Worker
        processes that could not start do not count."""
        self._failed_starts: Counter[int] = Counter()
        """How often in a row each worker process could not start, keyed by its number."""
        self._is_ready = False
        """Whether all worker processes have started for the first time."""
        self._is_stopping = False
        self._had_terminal = hang_up.has_terminal()
        self._pipe_end, self._held = os.pipe()
        """A pipe whose second end only the supervisor holds. The first end closes when the supervisor has ended."""

    def run(self, when_ready: Callable[[Ready], None]) -> None:
        """Run the server until a signal stops it. Pass the first worker process's report to `when_ready` once all
        worker processes have started.

        Raises `CannotStart`, `DataDirectoryError`, and `ServerFailed` if worker processes end again and again.
        """
        with ExitStack() as opened:
            exposures = self._directory.prepare()
            opened.callback(self._directory.release)
            report_risks(self._settings, exposures, emit=self._emit, warn=self._warn)
            # From now on, all worker processes derive the same keys.
            self._directory.master_keys.derived("worker processes")
            opened.callback(self._close_sockets)
            self._bind_sockets()
            runtime.collect_less_garbage()  # so that the worker processes keep sharing the memory of all modules
            received = opened.enter_context(signals.handled())
            opened.callback(self._stop_all, received)
            ready = self._start_all(received)
            if ready:
                self._run = run_with(ready.run, self._reloads.settings)
                self._directory.announce(self._run)
                when_ready(ready)
                systemd.notify(systemd.READY)
            while not self._is_stopping:
                self._wait(received)

    # Starting

    def _bind_sockets(self) -> None:
        """Bind the sockets of all worker processes. Raises `CannotStart`."""
        settings = self._settings
        self._sockets = [{} for _ in range(settings.workers)]
        for edge, endpoints in settings.endpoints.items():
            for place, endpoint in enumerate(endpoints):
                bound = sockets.bind(edge, endpoint, times=settings.workers)
                for of_worker, each in zip(self._sockets, bound, strict=True):
                    of_worker[edge, place] = each

    def _start_all(self, received: Signals) -> Ready | None:
        """Start all worker processes, and wait until they are ready. Return the first one's report, or None if a signal
        stops the server before that.

        The first worker process creates or migrates the database before the others start. Raises `CannotStart`.
        """
        for number in range(1, self._settings.workers + 1):
            if not self._is_stopping:
                self._start(number)
            while number == 1 and not self._is_stopping and not self._workers[1].ready:
                self._wait(received)
        while not self._is_stopping and not all(worker.ready for worker in self._workers.values()):
            self._wait(received)
        if self._is_stopping or not (first := self._workers[1].ready):
            return None
        self._is_ready = True
        return replace(first, run=replace(first.run, pid=os.getpid()))

    def _start(self, number: int) -> None:
        is_first = number == 1 and not self._is_ready
        try:
            worker = Worker(number, lambda report: self._work(number, report, is_first=is_first))
        except OSError as error:
            reason = f"No process can be started: {error.strerror}."
            self._emit(events.WorkerNotStarted(worker=number, reason=reason))
            self._retry_later(number, reason)
            return
        self._workers[number] = worker
        self._reloads.started(worker)
        self._emit(events.WorkerStarted(worker=number, pid=worker.pid))

    def _work(self, number: int, report: Report, *, is_first: bool) -> int:
        """Run a worker process, and return its exit code. Only the worker process calls this method."""
        os.close(self._held)
        if self._log:
            self._log.close_inherited()
        for other in self._workers.values():
            other.close()
        own = self._sockets.pop(number - 1)
        self._close_sockets()
        settings, metrics = self._reloads.settings, self._arrays.of(number)
        try:
            log = open_log(settings, worker=number, count=metrics.count)
        except CannotStart as error:
            report.failed(str(error))
            return 1
        with runtime.process_of_a_server(log, metrics) as process:
            service = Service(
                settings,
                emit=process.emit,
                metrics=process.metrics,
                files=process.files,
                warn=self._warn if is_first else lambda _: None,
                process=WorkerProcess(
                    number=number,
                    is_first=is_first,
                    count=self._settings.workers,
                    directory=self._directory,
                    sockets=own,
                    limit_state=self._memory.state_of(number),
                ),
                has_reader=self._has_reader,
                reread=self._reread,
                reopen_log=log.reopen,
            )
            try:
                uvloop.run(
                    runtime.run(
                        service,
                        lambda run: report.ready(Ready(run, service.instance_id, service.where, service.console_link)),
                        when_reloaded=report.reloaded,
                        supervisor_pipe=self._pipe_end,
                    )
                )
            except (CannotStart, DataDirectoryError, ServerFailed) as error:
                report.failed(str(error))
                return 1
            except Exception as error:  # noqa: BLE001 - the boundary of a worker process
                Incidents(process.emit, of_store=STORE_FAILURES).report(error, where="worker process")
                return 1
        return 0

    # Running

    def _wait(self, received: Signals, *, seconds: float | None = None) -> None:
        """Wait until something happens, but at most `seconds`, and handle it. Raises `CannotStart` and
        `ServerFailed`.
        """
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)
        pause = max(0.0, min(self._due.values()) - now) if self._due else seconds
        by_pipe = {worker.reports: worker for worker in self._workers.values()}
        names, readable = received.wait(by_pipe, pause)
        for pipe in readable:
            by_pipe[pipe].receive()
            self._reloads.received(by_pipe[pipe])
        for name in names:
            self._handle(name)
        for worker in list(self._workers.values()):
            if how := worker.ended():
                self._handle_end(worker, how)

    def _handle(self, received: signal.Signals) -> None:
        if received is signal.SIGCHLD or self._is_stopping:
            return
        if received is signal.SIGHUP and not (self._had_terminal and not hang_up.has_terminal()):
            self._reloads.begin(list(self._workers.values()))
            return
        self._emit(events.Stopping(signal=received.name))
        self._is_stopping = True

    def _announce_settings(self, settings: Settings) -> None:
        if self._run:
            self._run = run_with(self._run, settings)
            announce(self._directory, self._run, self._emit)

    def _handle_end(self, worker: Worker, how: str) -> None:
        """Decide what to do after a worker process has ended."""
        del self._workers[worker.number]
        self._reloads.ended(worker)
        self._arrays.drop_gauges(worker.number)
        worker.receive()
        worker.close()
        if self._is_stopping:
            return
        reason = worker.error or f"Worker process {worker.number} ended with {how}."
        if not worker.ready:
            self._emit(events.WorkerNotStarted(worker=worker.number, reason=worker.error or how))
            self._retry_later(worker.number, reason)
            return
        self._emit(events.WorkerEnded(worker=worker.number, pid=worker.pid, reason=worker.error or how))
        self._failed_starts[worker.number] = 0
        now = time.monotonic()
        self._ends = [*(end for end in self._ends if end > now - PERIOD), now]
        pause = pause_before_restart(self._ends, now)
        if pause is None:
            raise ServerFailed(f"More than {MOST} worker processes ended within {PERIOD:g} s. {reason}")
        self._due[worker.number] = now + pause

    def _retry_later(self, number: int, reason: str) -> None:
        """Decide what to do after a worker process could not start. Raises `CannotStart` if the server has never been
        ready, and `ServerFailed` if no worker process works.
        """
        if not self._is_ready:
            raise CannotStart(reason)
        self._failed_starts[number] += 1
        works = any(worker.ready for worker in self._workers.values())
        pause = pause_after_failed_start(self._failed_starts[number], others_work=works)
        if pause is None:
            raise ServerFailed(f"No worker process works, and none can be started. {reason}")
        self._due[number] = time.monotonic() + pause

    # Stopping

    def _stop_all(self, received: Signals) -> None:
        """Let all worker processes finish their work, and wait until they have ended."""
        systemd.notify(systemd.STOPPING)
        self._is_stopping = True
        self._due.clear()
        self._close_sockets()
        while self._workers:
            for worker in self._workers.values():
                worker.stop()
            self._wait(received, seconds=STOP_EVERY)

    def _close_sockets(self) -> None:
        """Close this process's copies of the sockets. If the supervisor kept its copies, clients could still connect
        after the worker processes have stopped listening.
        """
        for of_worker in self._sockets:
            for each in (each for bound in of_worker.values() for each in bound):
                each.close()
        self._sockets = []
