"""PgBouncer in transaction mode, which gives each transaction another session of PostgreSQL."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg import conninfo

from tests.kit.patience import wait_until
from tests.kit.stores import postgresql

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PORT = 6432

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")


class Pooler:
    """A running PgBouncer in front of the server of a database. A test may stop, kill and start it again.

    It listens on a Unix socket, and uses at most `size` sessions of PostgreSQL for all clients. It tries to reach a
    PostgreSQL server that does not run every second.
    """

    def __init__(self, url, *, size=3):
        self._named, self._size = conninfo.conninfo_to_dict(url), size
        self._process = None

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="waypost-pooler-")
        self._directory = Path(self._temporary.name)
        host, port, user = (self._named.get(name, "5432") for name in ("host", "port", "user"))
        (self._directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={host} port={port} user={user}\n"
            f"[pgbouncer]\npool_mode = transaction\nauth_type = any\ndefault_pool_size = {self._size}\n"
            "max_client_conn = 200\nserver_login_retry = 1\nserver_round_robin = 1\n"
            f"listen_addr =\nlisten_port = {PORT}\nunix_socket_dir = {self._directory}\n"
        )
        if os.getuid() == 0:  # PgBouncer refuses to run as root
            os.chown(self._directory, pwd.getpwnam(postgresql.USER).pw_uid, -1)
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._temporary.cleanup()

    @property
    def url(self):
        """The URL of the database, through PgBouncer."""
        name, user = self._named["dbname"], self._named["user"]
        return f"postgresql://{user}@/{name}?host={self._directory}&port={PORT}"

    def start(self):
        """Start PgBouncer, and wait until it accepts connections."""
        as_user = ["--user", postgresql.USER] if os.getuid() == 0 else []
        with (self._directory / "log").open("a") as log:
            command = [PGBOUNCER, *as_user, str(self._directory / "pgbouncer.ini")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, (self._directory / "log").read_text)

    def kill(self):
        """Kill PgBouncer. All of its clients lose their connections."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Stop PgBouncer at once. Since version 1.23, only the second SIGTERM does not wait for the clients."""
        while self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)

    def _answers(self):
        """Return whether PgBouncer accepts connections. Its socket exists shortly before."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._directory / f".s.PGSQL.{PORT}")) == 0
