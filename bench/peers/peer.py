"""What all measured mail servers have in common, and how their processes are started and stopped."""

import enum
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from groups import Group

INBOX, RELAY, LMTP = "inbox", "relay", "lmtp"
"""The paths of a message: into two inboxes, or in two copies to a next hop with SMTP or LMTP."""

TIME_LIMIT = 60.0
"""The time limit for a server's start, and for the delivery of all accepted messages, in seconds."""


class Kind(enum.Enum):
    """What a server is measured for."""

    WAYPOST = "Waypost with one worker"
    WORKERS = "Waypost with several workers"
    KEEPS = "a mail server that keeps messages for two inboxes"
    DISCARDS = "a server that discards messages for inboxes"
    CEILING = "the fastest server that discards messages"


class PeerFailed(Exception):
    """Raised if a server cannot be started, or does not deliver accepted messages."""


class Inboxes(Protocol):
    """Counts the messages in a server's two inboxes."""

    def begin(self) -> None:
        """Count from zero."""

    def has(self, count: int) -> bool:
        """Return whether both inboxes have `count` new messages."""


class NoInboxes:
    """The inboxes of a server that keeps nothing, so that nothing can be counted."""

    def begin(self) -> None:
        pass

    def has(self, count: int) -> bool:  # noqa: ARG002
        return True


class Maildirs:
    """Two Maildirs."""

    def __init__(self, *directories: Path) -> None:
        self._directories = [directory / "new" for directory in directories]

    def begin(self) -> None:
        """Count from zero. Old messages stay, because Postfix was half as fast in emptied Maildirs on ext4."""
        self._already = [_files(directory) for directory in self._directories]

    def has(self, count: int) -> bool:
        counted = zip(self._directories, self._already, strict=True)
        return all(_files(directory) - already >= count for directory, already in counted)


@dataclass
class MailPeer:
    """A running mail server."""

    name: str
    kind: Kind
    port: int
    groups: tuple[Group, ...]
    """The server's processes, and those of its database server."""
    keeps: str
    """Where accepted messages are when the server replies, in a few words."""
    domains: dict[str, str] = field(default_factory=dict)
    """The domain of the recipients for each path that the server has."""
    inboxes: Inboxes = field(default_factory=NoInboxes)
    directory: Path | None = None
    """The directory with the server's data."""
    is_late: bool = False
    """Whether accepted messages were not delivered in time. They would be counted among the next messages."""

    @property
    def main_path(self) -> str:
        """The path on which the server keeps messages, if it keeps any."""
        return RELAY if self.kind is Kind.DISCARDS and RELAY in self.domains else INBOX

    def cpu_seconds(self) -> float:
        """Return the processor time of all processes so far, in seconds."""
        return sum(group.cpu_seconds() for group in self.groups)

    def pss(self) -> float:
        """Return the memory of all processes, in MB (see `Group.pss`)."""
        return sum(group.pss() for group in self.groups)

    def recipient(self, path: str) -> str:
        """Return the address of an alias, whose mail takes `path`, in two copies."""
        return f"alias@{self.domains[path]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def program(name: str) -> str | None:
    """Return the path of a program, which may be one for administrators; None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


@contextmanager
def running(group: Group, command: Sequence[str | Path], log: Path, **options) -> Iterator[subprocess.Popen[str]]:
    """Run a server in the group, with its output in `log`. It is stopped with SIGTERM."""
    with log.open("w") as file:
        arguments = {"stdout": file, "stderr": file, "text": True} | options
        with group.starting():
            process = subprocess.Popen(list(map(str, command)), **arguments)
    group.add(process.pid)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        group.remove()
        if process.stdout:
            process.stdout.close()


def wait_until_open(port: int, log: Path, process: subprocess.Popen[str] | None = None) -> None:
    """Wait until a server sends its greeting. Raises `PeerFailed`."""
    give_up = time.monotonic() + TIME_LIMIT
    while not _greets(port):
        if time.monotonic() > give_up or (process is not None and process.poll() is not None):
            raise PeerFailed(f"nothing answers on port {port}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def wait_until(happened: Callable[[], bool], *, seconds: float = TIME_LIMIT, what: str = "a server is ready") -> None:
    """Wait until something has happened. Raises `PeerFailed` after this time."""
    give_up = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > give_up:
            raise PeerFailed(f"waited {seconds:.0f} s until {what}")
        time.sleep(0.02)


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIME_LIMIT) as connection:
            connection.recv(3)
            connection.sendall(b"QUIT\r\n")
            return True
    except OSError:
        return False


def _files(directory: Path) -> int:
    """Return the number of files in a directory, as cheaply as possible, because this runs during the measurement."""
    return len(os.listdir(directory)) if directory.exists() else 0  # noqa: PTH208
