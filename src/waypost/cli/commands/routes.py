"""`waypost routes` lists, adds and removes routes, with or without a running server.

A running server uses the changed routes immediately.
"""

import inspect
import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import click

from waypost.app.mail import routes
from waypost.cli.administration import administer, run
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json, NoServer, ServerRefused
from waypost.cli.commands import probe
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.commands.serving import read_file
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Argument, Command, Group, Option
from waypost.config.settings import ROWS
from waypost.config.tables import ROUTE
from waypost.config.types import BadSetting
from waypost.domain.mail import route_options
from waypost.domain.mail import routes as domain_routes
from waypost.host.data_directory import DataDirectory, NotRunning
from waypost.host.directory_files import DataDirectoryError
from waypost.host.run_file import Run

if TYPE_CHECKING:
    from waypost.config.file import SettingsFile

T = TypeVar("T")

app = Group(
    help="Manage routes, which send mail to other destinations, instead of the inbox or in addition to it.",
)

Config = Annotated[
    str,
    Option(
        "--config",
        help="The server's settings file, if there is one.",
        envvar=ROWS["config"].variable,
        is_eager=True,
        callback=read_file,
    ),
]
Number = Annotated[str, Argument(metavar="NUMBER", help="The number of a route, as shown by `waypost routes list`.")]

DEFAULT_CONFIG = ROWS["config"].default


@app.command("list")
def listed(
    ctx: click.Context,
    config: Config = DEFAULT_CONFIG,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """List routes in the order in which they are matched.

    Routes from the running server's settings file are marked "file". Routes that were added with `waypost routes add`
    have numbers. If no server is running, the list includes the routes in the settings file that --config names.
    Secrets are not shown. The second column is the route's name in the log. The log uses such names because it contains
    no email addresses.
    """
    stored = administer(data, database, routes.list_routes)
    file: SettingsFile = ctx.obj
    read = [domain_routes.without_secret(route) for route in file.routes]
    running = _routes_of_server(data)
    of_file = read if running is None else running
    shown = [_shown(route, None) for route in of_file]
    shown += [_shown(domain_routes.without_secret(route), number) for number, route in enumerate(stored, 1)]
    if as_json:
        print_json({"is_running": running is not None, "routes": shown})
        return
    for route in shown:
        click.echo(f"{route['number'] or 'file':>4}  {route['log_name']}  {_in_a_line(route)}")
    if running is None and not config:
        click.echo("      No server is running. To see the routes in a settings file, name the file with --config.")
    elif shown and all(route["match"] != "*" for route in shown):
        click.echo("      All other mail goes to the inbox of its recipient.")
    elif not shown:
        click.echo(
            "There are no routes: all mail goes to the inbox of its recipient. `waypost routes add` adds a route."
        )
    if running is not None and config and running != read:
        click.echo(f"      The routes in {config} differ from the routes that the running server read when it started.")


def _routes_of_server(data: str) -> list[dict[str, Any]] | None:
    """Return the routes that the running server has read from its settings file; None if no server is running."""
    try:
        server = Client(data)
        server.get("health")
    except (NotRunning, NoServer):
        return None
    return server.run.routes


@app.command()
def add(
    ctx: click.Context,
    match: Annotated[
        str,
        Argument(
            metavar="MATCH", help="The mail to match: support@example.com, *@example.com, instance:ID, or * for all."
        ),
    ],
    to: Annotated[
        str,
        Argument(
            metavar="TO",
            help="The destination: inbox, smtp://HOST:PORT, smtps://HOST:PORT, mx: or mx:DOMAIN, lmtp://HOST:PORT, "
            "lmtp:///PATH, maildir:/PATH, https://HOST/PATH.",
        ),
    ],
    keep: Annotated[bool, Option("--keep", help="Keep a copy in the inbox.")] = False,
    tls: Annotated[
        str,
        Option(
            "--tls",
            help="How TLS is used: none, opportunistic (the default), require, or verify (the default for smtps://).",
            metavar="HOW",
        ),
    ] = "",
    user: Annotated[str, Option("--user", help="The user name for SMTP AUTH.")] = "",
    secret_file: Annotated[
        str,
        Option(
            "--secret-file",
            help="A file with the user's password, or with the key that signs requests to a webhook. The file "
            "is read only when the route is added.",
        ),
    ] = "",
    before: Annotated[
        int | None,
        Option(
            "--before",
            help="The number of the route before which to insert the new route. By default, the new route comes last.",
        ),
    ] = None,
    connections: Annotated[
        int | None,
        Option("--connections", help=f"{ROUTE['connections'].text} The default is {ROUTE['connections'].default}."),
    ] = None,
    line_ends: Annotated[
        str,
        Option("--line-ends", help="The line endings in a Maildir: lf (the default), or as-received.", metavar="HOW"),
    ] = "",
    fault: Annotated[
        str,
        Option("--fault", help="A fault to inject, for tests: tempfail, permfail, slow, or drop-after-data."),
    ] = "",
    allow_private: Annotated[
        bool,
        Option("--allow-private", help="Allow a webhook, or a mail server found by mx:, to be on a private network."),
    ] = False,
    no_rewrite_sender: Annotated[
        bool, Option("--no-rewrite-sender", help="Do not rewrite the sender with SRS.")
    ] = False,
    unchecked: Annotated[
        bool,
        Option(
            "--unchecked",
            help="Skip the check that the destination can be reached and does not lead back to this server.",
        ),
    ] = False,
    config: Config = DEFAULT_CONFIG,  # noqa: ARG001 - `read_file` has read it
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
) -> None:
    """Add a route for mail that arrives from now on.

    Before the route is added, it is checked against the settings of the running server. If no server is running, the
    check uses this command's settings file and environment. The route comes after all other routes unless --before is
    given.
    """
    from waypost.config import file as settings_file
    from waypost.config import sources
    from waypost.server import routes_check

    table: dict[str, Any] = {"match": match, "to": to, "keep": keep, "allow_private": allow_private}
    table["rewrite_sender"] = not no_rewrite_sender
    given = {"tls": tls, "user": user, "secret_file": secret_file, "connections": connections, "fault": fault}
    given["line_ends"] = line_ends
    route = settings_file.route(table | {name: value for name, value in given.items() if value not in {"", None}})
    running = running_server(data)
    file = file_of_server(running, ctx.obj)
    if not unchecked:
        our_server = routes_check.OurServer
        server = our_server.running(running) if running else our_server.of(sources.read({}, os.environ, file))
        run(routes_check.check_route(route, server))
    number = administer(data, database, partial(routes.add_route, route=route, before=before, file_routes=file.routes))
    click.echo(f"Added route {number}: {_in_a_line(domain_routes.without_secret(route))}")


@app.command()
def remove(
    number: Number,
    config: Config = DEFAULT_CONFIG,  # noqa: ARG001 - `read_file` has read it
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
) -> None:
    """Remove a route that was added with `waypost routes add`. The numbers of all later routes decrease by one."""
    if not re.fullmatch("[0-9]{1,9}", number):
        raise ServerRefused(f"NUMBER must be a number that `waypost routes list` shows, not {number!r}.")
    route = administer(data, database, partial(routes.remove_route, number=int(number)))
    click.echo(f"Removed route {number}: {_in_a_line(domain_routes.without_secret(route))}")


def running_server(data: str) -> Run | None:
    """Return the server that is using a data directory; None if no server is running."""
    with suppress(DataDirectoryError):
        return DataDirectory(Path(data)).running()
    return None


def file_of_server(running: Run | None, given: "SettingsFile") -> "SettingsFile":
    """Return the running server's settings file, if this user can read it, or else the `given` file."""
    from waypost.config import file as settings_file

    if running and running.config:
        with suppress(BadSetting):  # for example, a secret may be only in the server's environment
            return settings_file.read(Path(running.config))
    return given


def _shown(route: dict[str, Any], number: int | None) -> dict[str, Any]:
    """Return the JSON object for a route, with its number and its source.

    `number` is None for a route in the settings file.
    """
    return {"number": number, "source": "file" if number is None else "command", **route}


def _in_a_line(route: dict[str, Any]) -> str:
    """Describe a route in one line. Properties with their default value are omitted."""
    properties = ", ".join(route_options.in_words(route))
    return f"{route['match']}  ->  {route['to']}{f'  ({properties})' if properties else ''}"


app.add_command(Command("test", probe.probe, help=inspect.getdoc(probe.probe)))
