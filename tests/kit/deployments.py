"""Runs servers with the options of a file in `deploy`, as processes of this machine instead of containers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kit.patience import PATIENCE
from waypost.config.rows import environment_name
from waypost.config.settings import Settings
from waypost.delivery.queue.worker import STOP_SECONDS
from waypost.host.data_directory import DataDirectory
from waypost.server.http.server import SHUTDOWN_SECONDS
from waypost.server.open_files import FILES_OF_AN_ATTEMPT, OWN_FILES

DEPLOY = Path(__file__).parents[2] / "deploy"

LONGEST_STOP = 30 + SHUTDOWN_SECONDS + STOP_SECONDS
"""Seconds that a server may need to stop. The first 30 are for a transaction that waits for PostgreSQL, as
docs/how-to/postgresql.md says."""


def files_needed():
    """Return how many open files a server with the default settings needs, which uses PostgreSQL."""
    settings = Settings()
    clients = settings.smtp_connections + settings.http_connections
    return clients + FILES_OF_AN_ATTEMPT * settings.delivery.connections + settings.database_connections + OWN_FILES


def make_secrets(directory, **variables):
    """Run the script that makes the secrets of compose.yaml, with these environment variables. Return its result."""
    return subprocess.run(
        [DEPLOY / "compose" / "make-secrets.sh", "mx.example.com", directory],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


class Container:
    """A server with the command and the environment of a container, as a process.

    Each address of the container becomes a free port on loopback. `replaced` maps further texts of the command and the
    environment, such as paths in the container, to those of this machine.
    """

    def __init__(self, data, command, environment, replaced):
        self.data, self.log = data, data.with_name(f"{data.name}.log")
        self._replaced = {r"0\.0\.0\.0:\d+": "127.0.0.1:0"} | {re.escape(old): new for old, new in replaced.items()}
        subcommand, *options = map(self._here, command)
        self._command = [sys.executable, "-P", "-m", "waypost", subcommand, "--ready-json", "--data", data, *options]
        self._environment = {name: self._here(value) for name, value in environment.items()}
        self._process = None

    def _here(self, text):
        for old, new in self._replaced.items():
            text = re.sub(old, new, text)
        return text

    def start(self):
        """Start the server, and wait until it is ready."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(environment_name(""))}
        with self.log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                list(map(str, self._command)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=others | self._environment,
            )
        line = self._process.stdout.readline()
        assert line, self.log.read_text(encoding="utf-8")
        self.ready = json.loads(line)
        self.run = DataDirectory(self.data).running()
        return self

    def stop(self):
        """Stop the server if it is running. It must end without an error."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(PATIENCE) == 0, self.log.read_text(encoding="utf-8")
            self._process.stdout.close()

    def kill(self):
        """Kill the server."""
        self._process.kill()
        self._process.wait(PATIENCE)
        self._process.stdout.close()
