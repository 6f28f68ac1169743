"""One worker process, as its supervisor sees it: how it is started, what it reports, and how it ended."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from msgspec import Struct, to_builtins

from waypost.host.run_file import Run
from waypost.server.supervisor import signals

_READ_AT_ONCE = 65_536


class Ready(Struct, frozen=True):
    """The report of a worker process that has started."""

    run: Run
    instance_id: str
    """The id of the oldest instance in the owner's account."""
    where: str
    """The location of the data, for messages."""
    console_link: str = ""
    """The URL with which the operator signs in to the console once; empty if the server prints none."""


class Worker:
    """A worker process that the supervisor has forked."""

    def __init__(self, number: int, work: Callable[["Report"], int]) -> None:
        """Fork a process, and run `work` in it. The result of `work` is the exit code of the process.

        The forked process never returns from this method. Raises `OSError` if no process can be started.
        """
        self.number = number
        self.ready: Ready | None = None
        """The report that the process has started; None if it has not started yet."""
        self.reloads: list[bool] = []
        """The results of finished reloads, in their order: whether the process could use the settings."""
        self.error = ""
        """The reason why the process cannot start, or cannot continue, in a sentence for the operator."""
        self._received = b""
        self.reports, writing = os.pipe()
        """The file descriptor from which the process's reports can be read, with `receive`."""
        for stream in (sys.stdout, sys.stderr):  # otherwise, both processes would write what is in the buffer
            stream.flush()
        # A signal must not reach the new process while it still has the supervisor's handlers, which would ignore it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals.HANDLED)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self.reports)
                signals.restore_in_worker(blocked)
                _exit_after(work, Report(writing))
        except OSError:
            os.close(self.reports)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(writing)

    def receive(self) -> None:
        """Read what the process has reported since the last call. The supervisor calls this method when there is
        something to read.
        """
        octets = os.read(self.reports, _READ_AT_ONCE)  # at the end of the pipe, there is nothing to read
        *lines, self._received = (self._received + octets).split(b"\n")
        for line in lines:
            report = json.loads(line)
            if "error" in report:
                self.error = report["error"]
            elif "reloaded" in report:
                self.reloads.append(report["reloaded"])
            else:
                self.ready = Ready(**report | {"run": Run(**report["run"])})

    def ended(self) -> str:
        """Return how the process has ended, such as "signal SIGKILL" or "exit code 1". Return an empty string if it is
        still running.
        """
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return ""
        code = os.waitstatus_to_exitcode(status)
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def reload(self) -> None:
        """Let the process read its settings and files again, as soon as it has started."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self) -> None:
        """Let the process finish its work and end."""
        os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """Close the file descriptor of the reports."""
        os.close(self.reports)


class Report:
    """The worker process's end of the pipe to its supervisor."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def ready(self, ready: Ready) -> None:
        """Report that the worker process has started."""
        self._write(to_builtins(ready))

    def reloaded(self, is_usable: bool) -> None:
        """Report that a reload has finished, and whether the settings could be used."""
        self._write({"reloaded": is_usable})

    def failed(self, sentence: str) -> None:
        """Report why the worker process must end."""
        self._write({"error": sentence})

    def _write(self, report: dict[str, Any]) -> None:
        os.write(self._pipe, json.dumps(report).encode() + b"\n")


def _exit_after(work: Callable[[Report], int], report: Report) -> NoReturn:
    """Run the work of a worker process, and end the process without returning to the code of the supervisor."""
    code = 1
    try:
        code = work(report)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever the error is
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
