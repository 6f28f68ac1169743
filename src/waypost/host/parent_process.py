"""Ends a server together with the process that started it.

The standard input of the server is a pipe, and the parent process holds the other end. When the parent process ends for
any reason, the operating system closes that end. However, another child of the parent may have inherited it and may
keep it open, so the server also checks the id of its parent process.
"""

import os
import select
import shutil
import signal
import sys
import threading
import time

CHECK_EVERY = 1.0
"""The time, in seconds, between two checks of the parent's process id."""

GRACE_SECONDS = 20.0
"""The time, in seconds, that the server has to stop after SIGTERM before it is killed."""


class ParentProcess:
    """The process that started this one."""

    def __init__(self) -> None:
        self._pid = os.getppid()
        self.has_ended = False
        """Whether this process was stopped because its parent process has ended, or has closed the pipe."""

    def end_with(self, directory: str) -> None:
        """From now on, stop this process with SIGTERM when its parent process ends or closes the pipe.

        If this process has not ended in time, it is killed, and `directory` is removed, unless it is an empty string.
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # until the server has its own handler
        threading.Thread(target=self._wait, args=(directory,), daemon=True).start()

    def _wait(self, directory: str) -> None:
        while os.getppid() == self._pid and not _has_input_ended():
            pass
        self.has_ended = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        remove(directory)
        os.kill(os.getpid(), signal.SIGKILL)


def remove(directory: str) -> None:
    """Remove a directory that may be gone already. Do nothing if `directory` is an empty string."""
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


def _has_input_ended() -> bool:
    """Wait a while, and return whether standard input has ended."""
    if sys.stdin is None:  # the program that started this process has closed standard input
        return True
    number = sys.stdin.fileno()
    return bool(select.select([number], [], [], CHECK_EVERY)[0]) and not os.read(number, 4096)
