"""Servers with failpoints and short leases, which a campaign kills, stops and starts again."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from faults import failpoints
from tests.kit.servers import forked, running
from tests.kit.servers.running import MASTER_KEY
from waypost import testing
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.testing import process

LEASE = 3.0
"""The duration of a lease, in seconds. It is shorter than in production, so that a fault can be longer."""


class Server(testing.Server):
    """A server with failpoints. `more` are environment variables for its processes, and `is_forked` is whether it is
    started with a fork, which is faster but cannot preload a library.
    """

    def __init__(self, data, *options, lease=LEASE):
        super().__init__(data, *options)
        self.control = data.with_name(f"{data.name}.failpoint")
        self.lease, self._seen = lease, 0
        self.more, self.is_forked, self.limits = {}, True, {}

    def start(self):
        launched = {"lease": self.lease, "control": str(self.control)} | self.limits
        more = {failpoints.VARIABLE: json.dumps(launched), MASTER_KEY_VARIABLE: MASTER_KEY} | self.more
        kept, process.subprocess = process.subprocess, _Launching(forked if self.is_forked else subprocess, more)
        try:
            super().start()
        finally:
            process.subprocess = kept

    def arm(self, point, *, hit=1, do="kill", who="process", pause=0.0):
        """Let the server kill or stop itself when it passes a point for the `hit`th time, `pause` seconds later."""
        draft = self.control.with_suffix(".draft")
        draft.write_text(
            json.dumps({"point": point, "hit": hit, "do": do, "who": who, "pause": pause, "at": time.monotonic()})
        )
        self.control.with_suffix(".reached").unlink(missing_ok=True)
        draft.rename(self.control)

    def disarm(self):
        self.control.unlink(missing_ok=True)

    @property
    def was_reached(self):
        """Whether the failpoint was reached."""
        return self.control.with_suffix(".reached").exists()

    def ended(self):
        """Kill the processes that still run, and close what this process has of them."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait_for_end()

    def wait_for_end(self):
        """Wait until the process that was started has ended, as after a kill, and close its pipes."""
        self._process.wait(process.STOP)
        self._process.stdout.close()
        self._close_pipe()

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def new_lines(self):
        """Return the lines of the log since the last call."""
        lines, before = running.lines_of_log(self), self._seen
        self._seen = len(lines)
        return lines[before:]


class _Launching:
    """Starts servers with failpoints instead of plain ones."""

    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

    def __init__(self, by, more):
        self._by, self._more = by, more

    def Popen(self, command, *, env, **options):  # noqa: N802 - as in `subprocess`
        command = ["faults.failpoints" if word == "waypost.testing.attached" else word for word in command]
        path = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), str(Path(__file__).parents[1])]))
        return self._by.Popen(command, env=env | {"PYTHONPATH": path} | self._more, **options)


def end(server):
    """Stop a server if it is running."""
    with suppress(subprocess.TimeoutExpired):
        running.end(server)


def why_not_started(died, *, characters):
    """Return the last line of the log of a server that did not start, which says why, and then the end of the log.

    `died` is the `testing.ServerDied`, and `characters` the length of the end.
    """
    lines = str(died)[-characters:].splitlines()
    return "\n".join([*lines[-1:], *lines])
