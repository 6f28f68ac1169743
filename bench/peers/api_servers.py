"""Runs servers beside Waypost's API: a bare ASGI echo, and moto, which emulates a part of Amazon Connect."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import boto3
import calls
from groups import Group

from peers import peer, python_servers, roots

_PYTHON = roots.FETCHED / "moto" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Listener:
    """The port of an HTTP server, and its processes."""

    port: int
    group: Group


@dataclass(frozen=True, slots=True)
class Moto(Listener):
    """moto's server, with an instance."""

    describe_instance: bytes
    """A signed call of DescribeInstance."""


@contextmanager
def echo(directory: Path) -> Iterator[Listener]:
    """The minimal ASGI echo server, on uvicorn."""
    with python_servers.bare(directory, "echo") as (port, group):
        yield Listener(port, group)


def why_no_moto() -> str | None:
    """Return the reason why moto cannot be used on this machine; None if it can be used."""
    return None if _PYTHON.exists() else "pip has not installed it (bench/fetch.sh)"


@contextmanager
def moto(directory: Path) -> Iterator[Moto]:
    """moto's own server. It closes the connection after each response."""
    port, group, log = peer.free_port(), Group("moto"), directory.with_name(f"{directory.name}-moto.log")
    command = [_PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with peer.running(group, command, log) as process:
        peer.wait_until(lambda: process.poll() is not None or "Running on" in log.read_text(), what="moto is ready")
        url = f"http://127.0.0.1:{port}"
        key = SimpleNamespace(id="bench", secret="bench")
        profile = SimpleNamespace(key=key, region="us-east-1")
        connect = boto3.client(
            "connect",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
        )
        created = connect.create_instance(
            IdentityManagementType="CONNECT_MANAGED", InboundCallsEnabled=False, OutboundCallsEnabled=False
        )
        call = calls.Calls(SimpleNamespace(url=url, profile=profile), created["Id"]).describe_instance()
        yield Moto(port, group, call)
