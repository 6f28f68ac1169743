"""`waypost doctor` checks the machine, the settings and the database of a server."""

import os
from typing import TYPE_CHECKING

import click

from waypost.cli.client import DEFAULT_DATA, Data, Json
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.commands.routes import DEFAULT_CONFIG, Config, file_of_server, running_server
from waypost.cli.outcomes import Exit, print_json

if TYPE_CHECKING:
    from waypost.config.file import SettingsFile

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    ctx: click.Context,
    config: Config = DEFAULT_CONFIG,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Check ports, permissions, disk, limits, clock, DNS, TLS, the database and the routes of a server.

    The command changes nothing, and works whether or not the server is running. Give it the environment of the server
    and, if no server is running, the settings file, and run it as the user of the server. The exit code is 1 if there
    is a problem. Warnings do not change it.
    """
    import asyncio

    from waypost.config import sources
    from waypost.host.clock import now
    from waypost.server.doctor.facts import CheckedServer, examine
    from waypost.server.doctor.report import report

    given = {"config": config, "data": data, "database": database}
    options = {name: text for name, text in given.items() if text}
    file: SettingsFile = ctx.obj
    if not config:
        file = file_of_server(running_server(data), file)
        options |= {"config": file.path} if file.path else {}
    checked = CheckedServer.of(sources.read(options, os.environ, file))
    findings = asyncio.run(examine(checked))
    found = report(findings, now=now())
    if as_json:
        print_json(found)
    else:
        for one in findings:
            click.echo(f"{click.style(f'{one.level:<8}', fg=_COLOURS[one.level])} {one.check:<12} {one.text}")
    if not found["is_healthy"]:
        raise click.exceptions.Exit(Exit.REFUSED)
