"""`waypost ready` reports whether the server works."""

from pathlib import Path

import click

from waypost.cli.client import DEFAULT_DATA, Client, Data, Json
from waypost.cli.outcomes import print_json
from waypost.client.http import Connection
from waypost.host.data_directory import DataDirectory


def ready(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Report whether the running server works and can reach its database.

    The exit code is 0 if it does, so that the command can be the health check of a container. The command uses the
    server's address for metrics, if there is one. A server without the api role has no other HTTP address.
    """
    metrics = DataDirectory(Path(data)).running().metrics
    server = Connection(metrics, key_id="", secret="") if metrics else Client(data)
    server.get("ready")
    if as_json:
        print_json({"is_ready": True})
    else:
        click.echo("The server is ready.")
