"""Deployments of a test, each in a data directory and perhaps a PostgreSQL database, and commands that are killed."""

import signal
import subprocess
import sys

import psycopg

from tests.kit.patience import PATIENCE
from tests.kit.servers.running import started
from tests.kit.stores import postgresql
from waypost import testing

KILLED = """
import os, signal, sys
from waypost import cli
from {module} import {object} as patched
original, left = patched.{name}, {after}
def kill(*given, **named):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return original(*given, **named)
patched.{name} = kill
sys.argv = ["waypost", *sys.argv[1:]]
cli.main()
"""
"""A program that runs a command, which is killed (`kill -9`) when it calls a function, after a number of calls."""

SETTINGS = """
[[route]]
match = "*@out.example"
to = "{sink}"

[delivery]
retry_schedule = ["1s"]
"""
"""The settings of a server that sends mail for out.example to a mail server at `sink`."""


class Place:
    """Where the data of a deployment is: a data directory and, with PostgreSQL, a database."""

    def __init__(self, data, store):
        self.data, self.store = data, store
        self.url = postgresql.new_database() if store == "postgres" else ""

    @property
    def options(self):
        """The options of `waypost serve` and of the commands."""
        return ["--data", str(self.data), *(["--database", self.url] if self.url else [])]

    def server(self, *options):
        return testing.Server(self.data, *(["--database", self.url] if self.url else []), *options)

    def running(self, *options):
        """Run a server in the `with` block, and return its `System`, as `started` does."""
        return started(self.server(*options))

    def is_empty(self):
        """Return whether a restore could write here."""
        return not (self.data.exists() and list(self.data.iterdir())) and not (self.url and tables_of(self.url))

    def close(self):
        if self.url:
            postgresql.drop_database(self.url)


def tables_of(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()


def killed(module, object_, name, *arguments, after=0):
    """Run a command that is killed when it calls a function of a module, after `after` calls of this function."""
    code = KILLED.format(module=module, object=object_, name=name, after=after)
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
