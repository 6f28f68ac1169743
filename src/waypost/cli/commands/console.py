"""`waypost console` opens the console in a browser, and signs in."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import click

from waypost.cli.administration import Refused, administer
from waypost.cli.client import DEFAULT_DATA, Data
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.parameters import Option
from waypost.host.data_directory import DataDirectory


def console(
    print_only: Annotated[bool, Option("--print", help="Print the link. Do not open a browser.")] = False,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
) -> None:
    """Open the console in a browser. The link signs in once, within 10 minutes, on this machine."""
    from waypost.server import console_link

    directory = DataDirectory(Path(data))
    run = directory.running()
    server, key_id = console_link.console_url(run), console_link.owners_key_id(directory)
    if server is None:
        raise Refused(
            f"The API listens on {run.http or 'no address'}, and without HTTPS, the console answers only on loopback. "
            "Start the server with --http 127.0.0.1:8025, or with --https."
        )
    if key_id is None:
        raise Refused(f"There is no access key in {directory.credentials}. Sign in at {server}/console/.")
    url = administer(data, database, partial(console_link.make, access_key_id=key_id, url=server))
    click.echo(url)
    if not print_only and _has_display():
        import webbrowser

        webbrowser.open(url)


def _has_display() -> bool:
    """Return whether a person sees the output, and a browser with windows can be opened."""
    is_seen = sys.stdout.isatty()
    return is_seen and (sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))))
