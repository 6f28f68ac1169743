"""`waypost ready` reports whether the server works."""

import click

from waypost.cli.client import DEFAULT_DATA, Client, Data


def ready(data: Data = DEFAULT_DATA) -> None:
    """Report whether the running server works and can reach its database.

    The exit code is 0 if it does, so that the command can be the health check of a container.
    """
    Client(data).get("ready")
    click.echo("The server is ready.")
