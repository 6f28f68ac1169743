"""`python -m waypost.testing.attached …` is the `waypost` command, which ends with the process that started it.

That process holds the other end of a pipe on standard input. The system closes it when the process ends, however it
dies. A child that it forked may keep that end open, so the parent's process id is checked, too.
"""

import os
import runpy
import select
import signal
import sys
import threading
import time

LOOK_EVERY = 1.0
"""Seconds between two checks of the parent's process id."""

GRACE_SECONDS = 20.0
"""Seconds that a server has to stop in order."""


def end_with(parent: int) -> None:
    """Stop this process when its parent has ended: as Ctrl-C would, and after a while at once."""
    while os.getppid() == parent and not select.select([sys.stdin.fileno()], [], [], LOOK_EVERY)[0]:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("waypost", run_name="__main__")
