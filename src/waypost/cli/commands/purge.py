"""`waypost purge` deletes mail that exceeds the limits in the settings file's retention rules, as a running server
does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from waypost.app.mail import retention
from waypost.cli.administration import Refused, run
from waypost.cli.client import DEFAULT_DATA, Data, Json
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.commands.routes import DEFAULT_CONFIG, Config
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Option
from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.config.file import SettingsFile


def purge(
    ctx: click.Context,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Show the mail that would be deleted, but delete nothing.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Delete mail that exceeds the limits in the settings file's retention rules. You can stop the command at any
    time.
    """
    file: SettingsFile = ctx.obj
    if not file.retention:
        which = f"{config} has no [[retention]] table" if config else "no settings file was given"
        raise Refused(f"All mail is kept: {which}. Use --config to name a settings file with [[retention]] tables.")
    found = run(_purged(file, DataDirectory(Path(data)), database, dry_run=dry_run), database)
    if as_json:
        print_json({"dry_run": dry_run, "purged": [_shown(of) for of in found]})
        return
    if not found:
        click.echo("No mail exceeds the limits in the retention rules.")
        return
    for of in found:
        click.echo(f"{of.inbox.address_key}  (account {of.inbox.account})  {_amount(of.deliveries, of.octets)}")
    total = _amount(sum(of.deliveries for of in found), sum(of.octets for of in found))
    click.echo(f"Total that would be deleted: {total}." if dry_run else f"Deleted in total: {total}.")


def _shown(of: retention.Purge) -> dict[str, Any]:
    inbox = of.inbox
    return {"account": inbox.account, "address": inbox.address_key, "deliveries": of.deliveries, "octets": of.octets}


def _amount(deliveries: int, octets: int) -> str:
    return f"{deliveries:,} {'delivery' if deliveries == 1 else 'deliveries'} with {octets:,} bytes"


async def _purged(
    file: "SettingsFile", directory: DataDirectory, database: str, *, dry_run: bool
) -> list[retention.Purge]:
    """For each inbox, return how much mail was deleted or, if `dry_run` is true, how much would be deleted."""
    from waypost.host.clock import now
    from waypost.server import opening

    step = retention.plan if dry_run else retention.purge
    async with opening.administering(directory, database=database) as store:
        return [of async for of in step(store, file.retention, now=now())]
