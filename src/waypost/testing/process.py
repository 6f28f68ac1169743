"""Starts, stops and kills a `waypost serve` process on free ports. The server stops when its parent process ends."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from waypost.config.rows import environment_name
from waypost.host.credentials_file import Profile
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run

LOOPBACK = "127.0.0.0/8,::1"
"""The networks that a test server trusts. Only the test's own mail client connects from these networks."""

START = 120.0
"""The time, in seconds, after which a server that is not ready is killed."""

STOP = 30.0
"""The time, in seconds, after which a server that does not stop is killed."""


class ServerDied(Exception):
    """The server ended before it was ready, or was killed because it was not ready in time. The exception's message
    contains the server's log.
    """


class Server:
    """A Waypost server with a data directory. The server can be stopped and started again without losing its data."""

    def __init__(self, data: Path, *options: str, temporary: Path | None = None) -> None:
        """Prepare a server without starting it. `options` are further arguments of `waypost serve`.

        Clients on loopback addresses are trusted, unless `options` contain `--trusted-networks`. `temporary` is a
        directory that the server removes if it ends because this process has ended.
        """
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        """The file to which the server's log and error output are written."""
        self._options = options
        self._temporary = temporary
        self._process: subprocess.Popen[str] | None = None
        self._pipe_end: int | None = None
        """This process's end of the pipe that the server monitors; see `attached`."""
        self.default_session: Any = None
        """The default session of boto3 while the environment points at this server."""

    def start(self) -> None:
        """Start the server and wait until it is ready. Raises `ServerDied`. If it raises any exception, no process is
        left.
        """
        defaults = ["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off"]
        defaults += ["--trusted-networks", LOOPBACK]
        self.data.parent.mkdir(parents=True, exist_ok=True)
        # `-P` keeps modules in the working directory from replacing those of the server.
        attached = [sys.executable, "-P", "-m", "waypost.testing.attached", str(self._temporary or "")]
        command = [*attached, "serve", "--ready-json", "--data", str(self.data), *defaults, *self._options]
        self._close_pipe()
        self._process = None
        server_end, self._pipe_end = os.pipe()
        try:
            with self.log.open("a", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=server_end,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=_environment(),
                    process_group=0,  # so that `kill` can kill the server's worker processes too
                )
            self._wait_until_ready()
        except BaseException:
            if self._process:
                self.kill()
            self._close_pipe()
            raise
        finally:
            os.close(server_end)

    def _wait_until_ready(self) -> None:
        """Wait for the line that `--ready-json` prints, and read the files that the server has written.

        Raises `ServerDied` and `DataDirectoryError`.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self._kill_group()

        timer = threading.Timer(START, give_up)
        timer.daemon = True
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:  # all processes of the server have ended
            why = f"The server was not ready within {START:g} s. Its log:\n" if is_late.is_set() else ""
            raise ServerDied(why + self.log.read_text(encoding="utf-8"))
        self.run: Run = DataDirectory(self.data).running()
        if self.run.pid != self._process.pid:
            raise ServerDied(f"{self.data / 'run.json'} belongs to process {self.run.pid}, not to {self._process.pid}")
        self.profile: Profile = DataDirectory(self.data).profiles()[0]

    def stop(self) -> int:
        """Stop the server with SIGTERM, which lets it finish its work, and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._wait_for_end()

    def kill(self) -> None:
        """Kill all processes of the server immediately, with SIGKILL (`kill -9`)."""
        self._kill_group()
        self._wait_for_end()

    def _kill_group(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):  # the server may have ended
            os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def smtp(self) -> tuple[str, int]:
        """The host and port for mail, for use as `smtplib.SMTP(*server.smtp)`."""
        host, _, port = self.run.smtp.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def url(self) -> str:
        """The URL of the server's API."""
        return self.run.url

    @property
    def client_arguments(self) -> dict[str, Any]:
        """The arguments for a boto3 client, for use as `boto3.client("connect", **server.client_arguments)`."""
        return {
            "endpoint_url": self.url,
            "region_name": self.profile.region,
            "aws_access_key_id": self.profile.key.id,
            "aws_secret_access_key": self.profile.key.secret,
        }

    def _wait_for_end(self) -> int:
        """Wait until the server has ended, and return its exit code. Kill it if it does not end in time, and raise
        `subprocess.TimeoutExpired`.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            return self._process.wait(timeout=STOP)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe_end is not None:
            os.close(self._pipe_end)
            self._pipe_end = None


def _environment() -> dict[str, str]:
    """Return the environment variables, except those that set options of `waypost serve`. One of the excluded
    variables, for example, sets the database.
    """
    prefix = environment_name("")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


@contextmanager
def server(*options: str) -> Iterator[Server]:
    """Run a server with a temporary data directory, which is deleted at the end.

    `options` are further arguments of `waypost serve`.
    """
    with tempfile.TemporaryDirectory(prefix="waypost-") as directory:
        running = Server(Path(directory) / "data", *options, temporary=Path(directory))
        running.start()
        try:
            yield running
        finally:
            running.stop()
