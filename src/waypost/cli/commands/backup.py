"""`waypost backup`, `waypost restore` and `waypost verify` copy a whole deployment, and check the copy or the data."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from waypost.cli import progress
from waypost.cli.administration import checked
from waypost.cli.client import DEFAULT_DATA, Data, Json
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.outcomes import Exit, print_json
from waypost.cli.parameters import Argument, Option
from waypost.config.settings import ROWS
from waypost.host.data_directory import DataDirectory
from waypost.host.master_key import MASTER_KEY_VARIABLE

if TYPE_CHECKING:
    from waypost.app.ports.backups import Finding
    from waypost.host.backup_directory import Manifest

NewData = Annotated[
    str, Option("--data", help="The new data directory, which must be new or empty.", envvar=ROWS["data"].variable)
]
NewDatabase = Annotated[
    str,
    Option(
        "--database",
        help="The PostgreSQL database for the backup's data, which must be empty. Needed for a backup of PostgreSQL.",
        envvar=ROWS["database"].variable,
    ),
]


def backup(
    directory: Annotated[Path, Argument(metavar="DIR", help="A new or empty directory for the backup.")],
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Write a backup of all data, with the keys, while the server runs or not.

    The backup has everything that was acknowledged before it began. Only its owner can read it.
    """
    from waypost.server import backups

    with checked(database), progress.bar("Backup") as report:
        made = backups.back_up(DataDirectory(Path(data)), directory, database=database, report=report)
    if as_json:
        print_json(_shown(made, directory))
        return
    click.echo(f"The backup {directory} has {_contents(made)}.")
    key = (
        f"It has no master key, because the key is in {MASTER_KEY_VARIABLE}. Keep a copy of the key elsewhere."
        if made.master_key == "environment"
        else "It contains the master key and the owner's access key, so everybody who can read it can read and change "
        "everything. Keep it as safe as the server."
    )
    click.echo(key, err=True)


def restore(
    directory: Annotated[Path, Argument(metavar="DIR", help="The directory of a backup.")],
    data: NewData = DEFAULT_DATA,
    database: NewDatabase = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Restore a backup to a new data directory and, if it is a backup of PostgreSQL, to an empty database.

    All checksums of the backup are checked before anything is written.
    """
    from waypost.server import backups

    with checked(database), progress.bar("Restore") as report:
        made = backups.restore(directory, DataDirectory(Path(data)), database=database, report=report)
    if as_json:
        print_json(_shown(made, Path(data)))
        return
    click.echo(f"Restored {_contents(made)} to {data}.")
    click.echo(
        "The queue is as it was at the time of the backup. Start the copy so that it sends nothing:\n"
        f"  waypost serve --data {shlex.quote(data)} --hold-queue yes\n"
        "When no other server with this mail runs, restart it without --hold-queue to send the queued mail."
    )
    if database:
        click.echo(
            f"If the URL of the database has a password, set {ROWS['database'].variable} for these commands too."
        )


def verify(
    directory: Annotated[
        Path | None,
        Argument(metavar="DIR", help="The directory of a backup. Without it, the server's data are checked."),
    ] = None,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Check a backup, or the data of a server: checksums, damage, and the rules of the data.

    Among the rules are that each message has its bytes, that an alias link has one primary and one alias, and that each
    entry of the queue has its message. The command lists what is wrong by id, and then exits with code 1. The server
    can run meanwhile.
    """
    from waypost.server import backups

    with checked(database):
        found = list(
            backups.verify_backup(directory)
            if directory
            else backups.verify_data(DataDirectory(Path(data)), database=database)
        )
    if as_json:
        print_json({"is_sound": not found, "findings": [{"id": one.id, "what": one.what} for one in found]})
    else:
        for one in found:
            click.echo(f"{one.id}  {one.what}")
        click.echo(f"{directory or data}: {_verdict(found)}")
    if found:
        raise click.exceptions.Exit(Exit.REFUSED)


def _verdict(found: "list[Finding]") -> str:
    if not found:
        return "nothing is wrong."
    return f"{len(found):,} {'thing is' if len(found) == 1 else 'things are'} wrong."


def _shown(made: "Manifest", directory: Path) -> dict[str, Any]:
    """Return what a backup contains, as JSON. `directory` is where it was written."""
    return {
        "directory": str(directory),
        "version": made.waypost,
        "store": made.store,
        "began_at": made.began_at,
        "ended_at": made.ended_at,
        "schema": made.copied.schema,
        "master_key": made.master_key,
        "rows": {name: table.rows for name, table in made.copied.tables.items()},
    }


def _contents(made: "Manifest") -> str:
    """Return the numbers of messages and email addresses in a backup, and its time."""
    tables = made.copied.tables
    return f"{messages(tables['messages'].rows)} and {addresses(tables['email_addresses'].rows)}, as of {made.began_at}"


def messages(count: int) -> str:
    """Return a number of messages in words."""
    return f"{count:,} {'message' if count == 1 else 'messages'}"


def addresses(count: int) -> str:
    """Return a number of email addresses in words."""
    return f"{count:,} email {'address' if count == 1 else 'addresses'}"
