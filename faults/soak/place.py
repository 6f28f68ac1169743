"""The server of a soak, its email addresses, and what is measured of it."""

import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.kit.servers.running import System, worker_pids
from waypost.client.http import Connection
from waypost.testing.process import Server

SETTINGS = """
hostname = "mail.example"
workers = {workers}

[[retention]]
match = "*"
age = "{keep}s"

[delivery]
retry_schedule = ["1s"]
"""


@dataclass
class Place:
    """A server with the email addresses that the clients use."""

    server: Server
    system: System
    settings: Path
    aliases: dict[str, str]
    primaries: dict[str, str]
    described: str
    """The id of an email address that the clients describe."""
    pair: tuple[str, str]
    """The ids of two email addresses that the clients associate."""

    def processes(self):
        """Return all processes of the server."""
        supervisor = psutil.Process(self.server.run.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def workers(self):
        """Return the worker processes, without one that has just ended."""
        return [psutil.Process(pid) for pid in worker_pids(self.server).values() if psutil.pid_exists(pid)]

    def measured(self):
        """Return the current value of each quantity in `growth.LIMITS`, or None while a process ends or starts."""
        memory = descriptors = threads = 0
        try:
            for process in self.processes():
                memory += process.memory_full_info().pss
                descriptors += process.num_fds()
                threads += process.num_threads()
        except psutil.Error:
            return None
        database = self.server.data / "waypost.sqlite3"
        log = database.with_name(f"{database.name}-wal")
        return {
            "memory": memory / 1e6,
            "descriptors": descriptors,
            "threads": threads,
            "log of the database": _size(log),
            "database": _size(database),
            **data_of(database),
        }


def _size(file):
    """Return the size of a file in MB; 0 if it does not exist."""
    return file.stat().st_size / 1e6 if file.exists() else 0.0


_COUNTS = "SELECT count(*), min(received_at), (SELECT count(*) FROM remembered_calls) FROM messages"

_USED = """
SELECT coalesce(sum(pgsize) FILTER (WHERE tbl_name = 'remembered_calls'), 0),
    coalesce(sum(pgsize) FILTER (WHERE tbl_name != 'remembered_calls'), 0)
FROM dbstat JOIN sqlite_schema USING (name) WHERE aggregate = TRUE
"""


def data_of(database):
    """Return the age of the oldest message in seconds, and how many kilobytes of the database's pages each stored
    message and each remembered call uses.

    The database file is as large as its data ever was. The data depends on how fast the clients are, and their tokens
    are remembered for a week. Therefore only these quantities show whether something is kept for too long. Without
    SQLite's table `dbstat`, return only the age.
    """
    now = time.time()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as reading:
        reading.execute("BEGIN")
        messages, oldest, remembered = reading.execute(_COUNTS).fetchone()
        found = {"age of the oldest message": now - oldest / 1e3 if messages else 0.0}
        if reading.execute("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')").fetchone() == (1,):
            calls, rest = reading.execute(_USED).fetchone()
            found["database for each message"] = rest / 1e3 / max(messages, 1)
            found["database for each remembered call"] = calls / 1e3 / max(remembered, 1)
    return found


@contextmanager
def opened(directory, sink, *, workers, keep, options=()):
    """Run a server that keeps mail for `keep` seconds, and yield its `Place`. `sink` gets the relayed mail."""
    settings = directory / "waypost.toml"
    settings.write_text(SETTINGS.format(workers=workers, keep=keep))
    server = Server(directory / "data", "--config", str(settings), *options)
    with ExitStack() as closing:
        server.start()
        closing.callback(server.stop)
        system = System(server)
        closing.callback(system.connect.close)
        pairs = {name: system.linked_pair() for name in ("inbox", "relayed")}
        aliases = {name: alias for name, (alias, _) in pairs.items()}
        primaries = {name: primary for name, (_, primary) in pairs.items()}
        key = server.profile.key
        inspection = Connection(server.run.http, key_id=key.id, secret=key.secret)
        inspection.post("routes", {"match": primaries["relayed"], "to": sink.to, "keep": False})
        pair = tuple(system.ids[system.new_address()] for _ in range(2))
        yield Place(server, system, settings, aliases, primaries, pair[0], pair)


def wait(until, *, every=0.2):
    """Yield again and again until a time of the monotonic clock."""
    while (left := until - time.monotonic()) > 0:
        yield
        time.sleep(min(every, left))
