"""The line of JSON with which `waypost serve --ready-json` tells a program that the server is ready, and where it is.

`docs/reference/ready-json.md` describes the members, which programs rely on.
"""

import json
from typing import Any

from msgspec import Struct

import waypost
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run, reachable


class Started(Struct, frozen=True, kw_only=True):
    """A server that has started."""

    directory: DataDirectory
    run: Run
    instance_id: str
    """The id of the oldest instance in the owner's account."""
    where: str
    """The location of the data, for messages."""
    console_link: str
    """The URL with which the operator signs in to the console once; empty if there is none."""


def line(started: Started) -> str:
    """Return the line of JSON, with the addresses at which a client on this machine can connect."""
    run, directory = reachable(started.run), started.directory
    path = directory.path.absolute()
    found = {
        "version": waypost.__version__,
        "pid": run.pid,
        "api_url": run.url or None,
        "inspection_url": f"{run.url}/_waypost/" if run.has_api else None,
        "console_url": started.console_link or None,
        "http": _parts(run.http),
        "smtp": _parts(run.smtp),
        "https": _parts(run.https),
        "https_url": run.https_url or None,
        "https_authority": run.https_authority or None,
        "smtps": _parts(run.smtps),
        "lmtp": _parts(run.lmtp),
        "certificate": run.certificate or None,
        "instance_id": started.instance_id,
        "region": directory.profiles()[0].region,
        "data": str(path),
        "credentials": str(path / directory.credentials.name),
    }
    return json.dumps(found)


def _parts(address: str) -> dict[str, Any] | None:
    """Return the host and the port of HOST:PORT; None if there is no address."""
    host, _, port = address.rpartition(":")
    return {"host": host.strip("[]"), "port": int(port)} if address else None
