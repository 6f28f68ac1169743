"""The outputs of the log: a file to which several processes append, or standard error, which can be systemd's
journal.
"""

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from waypost.observe.log_options import Level

MODE = 0o640
"""The permission bits of a new log file. The file's group may read it, so that a program that collects logs can."""

PRIORITIES = {Level.INFO: 6, Level.WARNING: 4, Level.ERROR: 3}
"""The priority of each level in systemd's journal (syslog(3))."""


class Output(Protocol):
    """Where the lines of the log go."""

    is_terminal: bool
    is_journal: bool

    def fileno(self) -> int:
        """Return the file descriptor."""
        ...

    def write(self, lines: bytes) -> None:
        """Write complete lines. Raises `OSError` or `ValueError` if a part of them cannot be written."""
        ...

    def close(self) -> None:
        """Close the output, unless other parts of the program use it too."""
        ...


class StandardError:
    """Standard error as the output of the log."""

    def __init__(self) -> None:
        self._stream: BinaryIO = sys.stderr.buffer
        self.is_terminal = sys.stderr.isatty()
        self.is_journal = _is_journal(self._stream)

    def fileno(self) -> int:
        """Return the file descriptor of standard error."""
        return self._stream.fileno()

    def write(self, lines: bytes) -> None:
        """Write lines to standard error."""
        self._stream.write(lines)
        self._stream.flush()

    def close(self) -> None:
        """Do nothing, because warnings for people go to standard error too."""


class File:
    """A log file. Several processes can append to it at the same time, because the operating system appends the octets
    of one system call together (O_APPEND).
    """

    is_terminal = False
    is_journal = False

    def __init__(self, path: Path) -> None:
        """Open a file to append to it, and make it if it does not exist. Raises `OSError`."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
        try:
            self._descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, MODE)
            with suppress(OSError):  # some file systems have no modes
                os.fchmod(self._descriptor, MODE)  # the umask of a running server does not let the group read
        except FileExistsError:
            # Without O_NONBLOCK, the start would wait until another program reads from a named pipe.
            self._descriptor = os.open(path, flags | os.O_CREAT | os.O_NONBLOCK, MODE)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise OSError(errno.EINVAL, "Not a regular file")
        self._ends_within_line = False

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def write(self, lines: bytes) -> None:
        """Append lines in one system call, unless the disk is full. Raises `OSError`."""
        # A part of a line remains in the file after a write that failed. The next line must not continue it.
        left = memoryview(b"\n" + lines if self._ends_within_line else lines)
        while left:
            written = os.write(self._descriptor, left)
            self._ends_within_line = left[written - 1] != ord("\n")
            left = left[written:]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def open_output(file: Path | None) -> Output:
    """Open the output of the log: a file, or standard error. Raises `OSError`."""
    return File(file) if file else StandardError()


def with_priority(line: bytes, level: Level) -> bytes:
    """Return a line, which may contain line breaks, with its priority for systemd's journal (sd-daemon(3))."""
    prefix = b"<%d>" % PRIORITIES[level]
    return b"".join(prefix + each for each in line.splitlines(keepends=True))


def _is_journal(stream: BinaryIO) -> bool:
    """Return whether a stream is connected to systemd's journal (JOURNAL_STREAM in systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
