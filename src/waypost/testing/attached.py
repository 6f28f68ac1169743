"""`python -m waypost.testing.attached …` runs the `waypost` command until the process that started it ends.

The standard input of this process is a pipe, and the parent process holds the other end. When the parent process ends
for any reason, the operating system closes the parent's end of the pipe. However, another child of the parent may have
inherited that end and may keep it open, so this process also checks the parent's process id.
"""

import os
import runpy
import select
import signal
import sys
import threading
import time

CHECK_EVERY = 1.0
"""The time, in seconds, between two checks of the parent's process id."""

GRACE_SECONDS = 20.0
"""The time, in seconds, that the server has to stop after SIGTERM before it is killed."""


def end_with(parent: int) -> None:
    """Wait until the parent process has ended, then stop this process with SIGTERM and, if it has not ended in time,
    with SIGKILL.
    """
    while os.getppid() == parent and not select.select([sys.stdin.fileno()], [], [], CHECK_EVERY)[0]:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("waypost", run_name="__main__")
