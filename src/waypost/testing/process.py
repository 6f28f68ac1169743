"""A `waypost serve` process: started on free ports, waited for, stopped or killed. It ends with this process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waypost.config.rows import environment_name
from waypost.host.data_directory import DataDirectory, Profile, Run

LOOPBACK = "127.0.0.0/8,::1"
"""Networks that a server for tests trusts: a test's own mail client is the only one that connects to it."""


class ServerDied(Exception):
    """The server ended before it was ready. The message is what it said."""


class Server:
    """A server on a data directory. `start` and `stop` or `kill` it as often as you like: the data stays."""

    def __init__(self, data: Path, *options: str) -> None:
        """`options` are further arguments of `waypost serve`.

        Clients on loopback are trusted, unless `options` have other `--trusted-networks`.
        """
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        """Where its log and its complaints go."""
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._held: int | None = None
        """Our end of the pipe that shows the server that this process runs; see `attached`."""

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `ServerDied`."""
        defaults = ["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off"]
        defaults += ["--trusted-networks", LOOPBACK]
        self.data.parent.mkdir(parents=True, exist_ok=True)
        attached = [sys.executable, "-m", "waypost.testing.attached"]
        command = [*attached, "serve", "--data", str(self.data), *defaults, *self._options]
        self._close_pipe()
        theirs, self._held = os.pipe()
        try:
            with self.log.open("a", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    command, stdin=theirs, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment()
                )
        finally:
            os.close(theirs)
        assert self._process.stdout is not None
        if "is ready" not in self._process.stdout.readline():
            self._ended()
            raise ServerDied(self.log.read_text(encoding="utf-8"))
        self.run: Run = DataDirectory(self.data).running()
        if self.run.pid != self._process.pid:
            raise ServerDied(f"{self.data / 'run.json'} is of process {self.run.pid}, not of {self._process.pid}")
        self.profile: Profile = DataDirectory(self.data).profiles()[0]

    def stop(self) -> int:
        """Ask it to finish and end, as Ctrl-C does; returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._ended()

    def kill(self) -> None:
        """End it at once (`kill -9`): it gets to do nothing any more."""
        assert self._process is not None
        self._process.kill()
        self._ended()

    @property
    def smtp(self) -> tuple[str, int]:
        """Where it takes mail, as `smtplib.SMTP(*server.smtp)` wants it."""
        host, _, port = self.run.smtp.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://{self.run.http}"

    @property
    def client_arguments(self) -> dict[str, Any]:
        """What makes a boto3 client of it: `boto3.client("connect", **server.client_arguments)`."""
        return {
            "endpoint_url": self.url,
            "region_name": self.profile.region,
            "aws_access_key_id": self.profile.key.id,
            "aws_secret_access_key": self.profile.key.secret,
        }

    def _ended(self) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._close_pipe()
        return code

    def _close_pipe(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _environment() -> dict[str, str]:
    """Ours, without what it says of another server: that one's database is nothing to play with."""
    prefix = environment_name("")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


@contextmanager
def server(*options: str) -> Iterator[Server]:
    """A running server on a temporary directory, gone at the end. `options` go to `waypost serve`."""
    with tempfile.TemporaryDirectory(prefix="waypost-") as directory:
        running = Server(Path(directory) / "data", *options)
        running.start()
        try:
            yield running
        finally:
            running.stop()
