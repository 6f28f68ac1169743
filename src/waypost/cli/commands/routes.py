"""`waypost routes`: targets of mail other than the inbox. Works with a server running or not; it counts at once."""

import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from waypost.app.mail import routes
from waypost.cli.administration import administer, run
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json, NoServer, ServerRefused
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.commands.serving import read_file
from waypost.cli.outcomes import print_json
from waypost.config.settings import ROWS
from waypost.config.tables import ROUTE
from waypost.config.types import BadSetting
from waypost.domain.mail import routes as domain_routes
from waypost.host.data_directory import DataDirectory, DataDirectoryError, NotRunning, Run

if TYPE_CHECKING:
    from waypost.config.file import SettingsFile

T = TypeVar("T")

app = typer.Typer(help="Routes: targets of mail in addition to the inbox, or instead of it.", no_args_is_help=True)

Config = Annotated[
    str,
    typer.Option(
        "--config",
        help="The settings file of the server, if it has one.",
        envvar=ROWS["config"].variable,
        is_eager=True,
        callback=read_file,
    ),
]
Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The number of a route, as in `waypost routes list`.")]

DEFAULT_CONFIG = ROWS["config"].default

_USUAL = domain_routes.Route(match="*", to=domain_routes.INBOX)


@app.command("list")
def listed(
    ctx: typer.Context,
    config: Config = DEFAULT_CONFIG,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """List the routes of the running server in the order in which they are matched; those of its settings file are
    marked.

    Without a running server, it lists the routes of the settings file that --config names. Secrets are not shown. The
    second column is the name of a route in the log, which holds no email address.
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
        typer.echo(f"{route['number'] or 'file':>4}  {route['log_name']}  {_told(route)}")
    if running is None and not config:
        typer.echo("      No server is running here. Routes of a settings file are not shown: name it with --config.")
    elif shown and all(route["match"] != "*" for route in shown):
        typer.echo("      All other mail goes to the inbox of its address.")
    elif not shown:
        typer.echo("There are no routes: all mail goes to the inbox of its address. `waypost routes add` sets one.")
    if running is not None and config and running != read:
        typer.echo(f"      {config} has other routes than the server that is running, which read it when it started.")


def _routes_of_server(data: str) -> list[dict[str, Any]] | None:
    """The routes of the settings file that the running server has read; None if no server is running."""
    try:
        server = Client(data)
        server.get("health")
    except (NotRunning, NoServer):
        return None
    return server.run.routes


@app.command()
def add(
    ctx: typer.Context,
    match: Annotated[
        str,
        typer.Argument(metavar="MATCH", help="Mail for support@example.com, *@example.com, instance:ID, or * for all."),
    ],
    to: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            help="Where it goes: inbox, smtp://HOST:PORT, smtps://HOST:PORT, mx: or mx:DOMAIN, lmtp://HOST:PORT, "
            "lmtp:///PATH, maildir:/PATH, https://HOST/PATH.",
        ),
    ],
    keep: Annotated[bool, typer.Option("--keep", help="Keep a copy in the inbox.")] = False,
    tls: Annotated[
        str,
        typer.Option(
            "--tls",
            help="none, opportunistic (the default), require, or verify (the default of smtps://).",
            metavar="HOW",
        ),
    ] = "",
    user: Annotated[str, typer.Option("--user", help="SMTP AUTH user name.")] = "",
    secret_file: Annotated[
        str,
        typer.Option(
            "--secret-file",
            help="A file with the password of the user, or with the key that signs requests to a webhook. Read now.",
        ),
    ] = "",
    before: Annotated[
        int | None,
        typer.Option("--before", help="The number of the route before which it comes; by default, after all."),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option("--connections", help=f"{ROUTE['connections'].text} By default {ROUTE['connections'].default}."),
    ] = None,
    line_ends: Annotated[
        str,
        typer.Option(
            "--line-ends", help="How lines end in a Maildir: lf (the default), or as-received.", metavar="HOW"
        ),
    ] = "",
    fault: Annotated[
        str,
        typer.Option("--fault", help="For tests, a fault to inject: tempfail, permfail, slow, or drop-after-data."),
    ] = "",
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Let a webhook, or a mail server of mx:, be in a private network."),
    ] = False,
    no_rewrite_sender: Annotated[
        bool, typer.Option("--no-rewrite-sender", help="Keep the sender as it is, without SRS.")
    ] = False,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked",
            help="Do not check first that the target can be reached and does not lead back to this server.",
        ),
    ] = False,
    config: Config = DEFAULT_CONFIG,  # noqa: ARG001 - it has been read
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
) -> None:
    """Add a route for mail that arrives from now on.

    It is checked before it is set, as the server that runs on the data directory would use it, or, if none runs, one
    with this settings file and environment. It comes after all others unless --before is given.
    """
    from waypost.config import file as settings_file
    from waypost.config import sources
    from waypost.server import routes_check

    table: dict[str, Any] = {"match": match, "to": to, "keep": keep, "allow_private": allow_private}
    table["rewrite_sender"] = not no_rewrite_sender
    given = {"tls": tls, "user": user, "secret_file": secret_file, "connections": connections, "fault": fault}
    given["line_ends"] = line_ends
    route = settings_file.route(table | {name: value for name, value in given.items() if value not in {"", None}})
    running = _running(data)
    file = _file_of(running, ctx.obj)
    if not unchecked:
        ours = routes_check.OurServer
        server = ours.running(running) if running else ours.of(sources.read({}, os.environ, file))
        run(routes_check.check_route(route, server))
    number = administer(data, database, partial(routes.add_route, route=route, before=before, file_routes=file.routes))
    typer.echo(f"Route {number} is set: {_told(domain_routes.without_secret(route))}")


@app.command()
def remove(
    number: Number,
    config: Config = DEFAULT_CONFIG,  # noqa: ARG001 - it has been read
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
) -> None:
    """Remove a route that was added by a command. The routes after it move up."""
    if not re.fullmatch("[0-9]{1,9}", number):
        raise ServerRefused(f"A route is removed by its number, as in `waypost routes list`; {number!r} is none.")
    route = administer(data, database, partial(routes.remove_route, number=int(number)))
    typer.echo(f"Route {number} is gone: {_told(domain_routes.without_secret(route))}")


def _running(data: str) -> Run | None:
    """The server that runs on a data directory."""
    with suppress(DataDirectoryError):
        return DataDirectory(Path(data)).running()
    return None


def _file_of(running: Run | None, given: "SettingsFile") -> "SettingsFile":
    """The settings file of the running server, if this user can read it; else the one that --config names."""
    from waypost.config import file as settings_file

    if running and running.config:
        with suppress(BadSetting):  # perhaps a secret of it is in the environment of the server alone
            return settings_file.read(Path(running.config))
    return given


def _shown(route: dict[str, Any], number: int | None) -> dict[str, Any]:
    """A route, with the place where it is set. Routes of the settings file have no number."""
    return {"number": number, "source": "file" if number is None else "command", **route}


def _told(route: dict[str, Any]) -> str:
    """A route in a line; defaults are left out."""
    further = [
        "and in the inbox" if route["keep"] and route["to"] != "inbox" else "",
        f"TLS {route['tls']}" if route["tls"] != _USUAL.tls else "",
        "certificate not verified" if route["tls"] == "require" else "",
        f"as {route['user']}" if route["user"] else "",
        "sender as it is" if not route["rewrite_sender"] else "",
        "also in private networks" if route["allow_private"] else "",
        f"{route['connections']} connections" if route["connections"] != _USUAL.connections else "",
        f"line ends {route['line_ends']}" if route["line_ends"] != _USUAL.line_ends else "",
        f"FAULT ON PURPOSE: {route['fault']}" if route["fault"] else "",
    ]
    said = ", ".join(filter(None, further))
    return f"{route['match']}  ->  {route['to']}{f'  ({said})' if said else ''}"
