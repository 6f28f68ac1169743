"""`python -m waypost.testing.attached DIRECTORY …` runs the `waypost` command until the process that started it ends.

The standard input of this process is a pipe, and the parent
process holds the other end. When the parent process ends for any reason, the operating system closes the parent's end
of the pipe. However, another child of the parent may have inherited that end and may keep it open, so this process also
checks the parent's process id.

If the parent process ends first, this process removes DIRECTORY, unless that is an empty string. Otherwise the parent
process removes the directory.
"""

import os
import runpy
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


class Parent:
    """The process that started this one."""

    def __init__(self, directory: str) -> None:
        self._pid = os.getppid()
        self._directory = directory
        self._has_ended = False

    def end_with(self) -> None:
        """Wait until the parent process has ended, then stop this process with SIGTERM and, if it has not ended in
        time, with SIGKILL.
        """
        while os.getppid() == self._pid and not select.select([sys.stdin.fileno()], [], [], CHECK_EVERY)[0]:
            pass
        self._has_ended = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        self.clean_up()
        os.kill(os.getpid(), signal.SIGKILL)

    def clean_up(self) -> None:
        """Remove the directory if the parent process cannot do so any more."""
        if self._has_ended and self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)


def main() -> None:
    """Run the command."""
    _, directory, *arguments = sys.argv
    parent = Parent(directory)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # until the server has its own handler
    threading.Thread(target=parent.end_with, daemon=True).start()
    try:
        sys.argv = ["waypost", *arguments]
        runpy.run_module("waypost", run_name="__main__")
    finally:
        parent.clean_up()


if __name__ == "__main__":
    main()
