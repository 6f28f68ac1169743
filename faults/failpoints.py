"""Starts a server that kills or stops itself at a named point: `python -m faults.failpoints WORDS…`.

The words are those of `waypost`, or of `waypost.testing.attached` if the first names a directory. The product has no
code for this. This module wraps its functions from outside, and shortens its leases, before it starts.

A failpoint is armed by a file, so that a running server can be hit at any time. The file is JSON: the point, how often
the point must be passed first (`hit`), and what happens (`do`: "kill" or "stop"; `who`: "process" or "group") after a
`pause` in seconds. The process that passes the point at that time removes the file first, so that its replacement
survives.
"""

import faulthandler
import json
import os
import resource
import runpy
import signal
import sqlite3
import sys
import threading
import time
import weakref
from contextlib import suppress
from datetime import timedelta
from functools import wraps
from pathlib import Path

BEFORE_BEGIN = "before begin"
AFTER_WRITE = "after write"
BEFORE_COMMIT = "before commit"
AFTER_COMMIT = "after commit before reply"
AFTER_REPLY = "after the peer's reply before record"
CHECKPOINT = "during checkpoint"
POINTS = (BEFORE_BEGIN, AFTER_WRITE, BEFORE_COMMIT, AFTER_COMMIT, AFTER_REPLY, CHECKPOINT)
OF_SQLITE_ALONE = (CHECKPOINT,)

VARIABLE = "FAULTS"
"""The environment variable with the options, as JSON: see `Options`."""


class Failpoints:
    """Counts how often this process passes each point, and kills or stops it when an armed failpoint is reached."""

    def __init__(self, control: Path | None):
        self._control = control
        self._armed = None, {}
        self._lock = threading.Lock()
        self.passed = dict.fromkeys(POINTS, 0)

    @property
    def is_armed(self) -> bool:
        """Whether a failpoint is armed."""
        return self._control is not None and self._control.exists()

    def passes(self, point: str) -> None:
        self.passed[point] += 1
        if not self.is_armed:  # which needs no file descriptor
            return
        with self._lock, suppress(OSError, ValueError):
            assert self._control
            text = self._control.read_text(encoding="utf-8")
            if self._armed[0] != text:
                self._armed = text, {"left": json.loads(text)["hit"]}
            order, counts = json.loads(text), self._armed[1]
            if order["point"] != point:
                return
            counts["left"] -= 1
            if counts["left"] <= 0:
                self._control.rename(self._control.with_suffix(".reached"))  # fails if another process was first
                self._carry_out(order)

    @staticmethod
    def _carry_out(order: dict) -> None:
        time.sleep(order.get("pause", 0.0))
        number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[order["do"]]
        if order.get("who") == "group":
            os.killpg(0, number)
        os.kill(os.getpid(), number)


def install(points: Failpoints) -> None:
    """Wrap the functions at the six points."""
    _install_on_sqlite(points)
    _install_on_postgresql(points)
    _install_on_delivery(points)


def _before(owner, name, points, point):
    """Replace a function so that it first passes a point."""
    function = getattr(owner, name)

    @wraps(function)
    def passing(*given, **named):
        points.passes(point)
        return function(*given, **named)

    setattr(owner, name, passing)


def _after(owner, name, points, point):
    """Replace a function so that it passes a point after it has returned."""
    function = getattr(owner, name)

    @wraps(function)
    def passing(*given, **named):
        result = function(*given, **named)
        points.passes(point)
        return result

    setattr(owner, name, passing)


def _install_on_sqlite(points):
    from waypost.store.sqlite import batches

    class Watched(sqlite3.Connection):
        is_writing = False

        def execute(self, sql, *parameters):
            if sql == "BEGIN IMMEDIATE":
                points.passes(BEFORE_BEGIN)
                self.is_writing = True
            if sql != "COMMIT" or not self.is_writing:
                return super().execute(sql, *parameters)
            self.is_writing = False
            points.passes(BEFORE_COMMIT)
            result = super().execute(sql, *parameters)
            points.passes(AFTER_COMMIT)
            if points.passed[AFTER_COMMIT] % CHECKPOINT_EVERY == 0:
                self._checkpoint()
            return result

        def _checkpoint(self):
            """Copy the log to the database, and pass the point on another thread when the database has changed."""
            if not points.is_armed:  # an additional thread could change what a server does without memory
                return
            (_, _, path), *_ = super().execute("PRAGMA database_list").fetchall()
            ended = threading.Event()
            watching = threading.Thread(target=_watch, args=(Path(path), ended, points), daemon=True)
            watching.start()
            try:
                super().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                ended.set()
                watching.join()

    connect = sqlite3.connect
    sqlite3.connect = lambda *given, **named: connect(*given, **{"factory": Watched} | named)
    _after(batches, "_insert_drafts", points, AFTER_WRITE)
    _after(batches, "_run", points, AFTER_WRITE)


CHECKPOINT_EVERY = 10
"""The number of commits after which a server with an armed failpoint makes a checkpoint, so that it can be hit."""


def _watch(path, ended, points):
    before = path.stat().st_mtime_ns
    while not ended.is_set():
        if path.stat().st_mtime_ns != before:
            points.passes(CHECKPOINT)
            return
    if path.stat().st_mtime_ns != before:
        points.passes(CHECKPOINT)


def _install_on_postgresql(points):  # noqa: C901 - several functions to wrap
    try:
        from waypost.store.postgres import groups, pipelined, pool
    except ImportError:  # psycopg is not installed
        return

    _before(pool.Session, "_begin", points, BEFORE_BEGIN)
    say, write = pool.Session._say, pool.Session.write
    writing = threading.local()

    @wraps(write)
    def watched_write(session, use_case):
        def watched(tx):
            result = use_case(tx)
            points.passes(AFTER_WRITE)
            return result

        writing.now = True
        try:
            result = write(session, watched)
        finally:
            writing.now = False
        points.passes(AFTER_COMMIT)
        return result

    @wraps(say)
    def watched_say(session, command):
        if command == b"COMMIT" and getattr(writing, "now", False):
            points.passes(BEFORE_COMMIT)
        return say(session, command)

    pool.Session.write, pool.Session._say = watched_write, watched_say

    of_writes, committing = weakref.WeakSet(), weakref.WeakSet()
    begin, send = groups.WriteGroups._begin, pipelined.PipelinedConnection.send
    results = pipelined.PipelinedConnection.results

    @wraps(begin)
    def watched_begin(self, session):
        points.passes(BEFORE_BEGIN)
        of_writes.add(session.pipelined)
        begin(self, session)

    @wraps(send)
    def watched_send(self, sql, *given, **named):
        if sql == b"COMMIT" and self in of_writes:
            points.passes(AFTER_WRITE)
            points.passes(BEFORE_COMMIT)
            committing.add(self)
        send(self, sql, *given, **named)

    @wraps(results)
    async def watched_results(self):
        found = await results(self)
        if self in committing:
            committing.discard(self)
            points.passes(AFTER_COMMIT)
        return found

    groups.WriteGroups._begin = watched_begin
    pipelined.PipelinedConnection.send = watched_send
    pipelined.PipelinedConnection.results = watched_results


def _install_on_delivery(points):
    from waypost.delivery.queue import results

    _before(results.Results, "add", points, AFTER_REPLY)


def shorten(lease: float) -> None:
    """Shorten the time limits after which another process continues the work of a killed one, to `lease` seconds."""
    from waypost.delivery.queue import leases, sweeps, worker
    from waypost.server import maintenance, service
    from waypost.server.supervisor import restarts

    leases.LEASE = worker.LEASE = timedelta(seconds=lease)
    leases.RENEW_EVERY = lease / 4
    sweeps.EVERY = sweeps.LEASE = timedelta(seconds=lease)
    worker.CHECK_EVERY = min(worker.CHECK_EVERY, lease / 4)
    maintenance.PLAN_AGE = service.PLAN_AGE = timedelta(seconds=lease)
    restarts.MOST = 1_000_000  # the campaign kills more workers than a server in production may lose
    restarts.AT_ONCE = 1_000_000


def limit(*, files: int | None = None, memory: int | None = None) -> None:
    """Limit the open files, and the address space in bytes, of this process."""
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def main() -> None:
    """Install the failpoints, and start the server."""
    options = json.loads(os.environ.get(VARIABLE, "{}"))
    faulthandler.register(signal.SIGUSR2)  # prints what each thread does
    if lease := options.get("lease"):
        shorten(lease)
    control = options.get("control")
    install(Failpoints(Path(control) if control else None))
    limit(files=options.get("files"), memory=options.get("memory"))
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        sys.argv[0] = "waypost"
        runpy.run_module("waypost", run_name="__main__")
    else:
        runpy.run_module("waypost.testing.attached", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
