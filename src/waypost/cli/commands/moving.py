"""`waypost copy` copies a whole deployment from SQLite to PostgreSQL, or back."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from waypost.cli import progress
from waypost.cli.administration import checked
from waypost.cli.client import DEFAULT_DATA, Json
from waypost.cli.commands.backup import addresses, messages
from waypost.cli.commands.keys import DEFAULT_DATABASE
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Argument, Option
from waypost.cli.secret_files import COPY_TO_VARIABLE
from waypost.config.settings import ROWS
from waypost.config.types import DATABASE, understood
from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.server.copies import Made

OriginalData = Annotated[
    str, Option("--data", help="The data directory of the original.", envvar=ROWS["data"].variable)
]
OriginalDatabase = Annotated[
    str,
    Option(
        "--database",
        help="The PostgreSQL database of the original, if its data directory does not name it.",
        envvar=ROWS["database"].variable,
    ),
]
ToDatabase = Annotated[
    str,
    Option(
        "--to-database",
        help="An empty PostgreSQL database for the copy. Without it, the copy is in SQLite.",
        envvar=COPY_TO_VARIABLE,
    ),
]


def copy(
    directory: Annotated[Path, Argument(metavar="DIR", help="The new data directory of the copy.")],
    data: OriginalData = DEFAULT_DATA,
    database: OriginalDatabase = DEFAULT_DATABASE,
    to_database: ToDatabase = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Copy all data and the keys from SQLite to PostgreSQL, or from PostgreSQL to SQLite, and compare them.

    Stop all servers first. The original is not changed. If the command is interrupted, run it again: it continues the
    copy. No server starts with an incomplete copy.
    """
    from waypost.server import copies

    understood(DATABASE, to_database, "--to-database", is_secret=True)
    with checked(database), progress.bar("Copy") as report:
        made = copies.copy(
            DataDirectory(Path(data)),
            DataDirectory(directory),
            database=database,
            to_database=to_database,
            report=report,
        )
    if as_json:
        rows = {name: table.rows for name, table in made.tables.items()}
        print_json({"directory": str(directory), "store": "postgres" if to_database else "sqlite", "rows": rows})
        return
    click.echo(f"Copied {_contents(made)} to {directory}. The copy is equal to the original.")
    click.echo(
        "Start the server with the copy:\n"
        f"  waypost serve --data {shlex.quote(str(directory))}\n"
        "Start no server with the original data any more. It would send the queued mail a second time."
    )
    if to_database:
        click.echo(f"If the URL of the database has a password, set {ROWS['database'].variable} for this command.")


def _contents(made: "Made") -> str:
    counts = f"{messages(made.tables['messages'].rows)}, {addresses(made.tables['email_addresses'].rows)}"
    return f"{counts} and everything else, {made.rows:,} rows,"
