"""`waypost migrate` shows or runs the migrations that this version needs, before its servers start."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

import waypost
from waypost.cli.administration import checked
from waypost.cli.client import DEFAULT_DATA, Data, Json
from waypost.cli.commands.keys import DEFAULT_DATABASE, Database
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Option
from waypost.host.data_directory import DataDirectory

if TYPE_CHECKING:
    from waypost.app.ports.upgrades import Effect, PlannedMigration, Upgrade

_WORDS = {"reads and writes": "Blocks reads and writes of", "writes": "Blocks writes to", "nothing": "Reads"}


def migrate(
    plan: Annotated[bool, Option("--plan", help="Show the migrations that have not run, and change nothing.")] = False,
    run: Annotated[bool, Option("--run", help="Run the migrations that have not run.")] = False,
    data: Data = DEFAULT_DATA,
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Show or run the migrations that the database needs for this version of Waypost.

    Run it with the new version, before you restart the first server. Servers of the previous version can use a
    PostgreSQL database meanwhile. Stop the server before you migrate an SQLite file.
    """
    from waypost.server import upgrades

    if plan == run:
        raise click.UsageError("Give either --plan or --run.")
    directory = DataDirectory(Path(data))
    with checked(database):
        found = upgrades.plan(directory, database=database)
        applied: list[dict[str, Any]] = []
        if run and found.pending:
            upgrades.run(directory, _reporting(applied, found, is_shown=not as_json), database=database)
            found = upgrades.plan(directory, database=database)  # another process may have run some of them
    if as_json:
        print_json(_as_json(found, applied))
    elif plan:
        click.echo("\n".join(_lines(found)))
    else:
        click.echo(f"{found.where} has all migrations of Waypost {waypost.__version__}.")


def _reporting(applied: list[dict[str, Any]], found: "Upgrade", *, is_shown: bool) -> Any:
    """Return a function that runs a migration inside a context manager, and adds it to `applied`."""
    names = {one.number: one for one in found.pending}

    @contextmanager
    def reporting(number: int, name: str) -> Iterator[None]:
        began = time.monotonic()
        if is_shown:
            what = names[number].what if number in names else ""
            click.echo(f"{number} {name}: {what}")
        yield
        seconds = round(time.monotonic() - began, 3)
        applied.append({"number": number, "name": name, "seconds": seconds})
        if is_shown:
            click.echo(f"{number} {name}: done in {seconds:.3f} s.")

    return reporting


def _as_json(found: "Upgrade", applied: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": waypost.__version__,
        "database": found.where,
        "schema": found.schema,
        "pending": [_shown(one) for one in found.pending],
        "applied": applied,
    }


def _shown(step: "PlannedMigration") -> dict[str, Any]:
    return {
        "number": step.number,
        "name": step.name,
        "kind": step.kind,
        "what": step.what,
        "effects": [
            {"table": one.table, "blocks": one.blocks, "lasts": one.lasts, "rows": one.rows} for one in step.effects
        ],
    }


def _lines(found: "Upgrade") -> Iterator[str]:
    """Yield the lines that show a plan."""
    if not found.pending:
        yield f"{found.where} has all migrations of Waypost {waypost.__version__}. There is nothing to do."
        return
    count = len(found.pending)
    yield (
        f"{found.where} has schema {found.schema}. Waypost {waypost.__version__} needs "
        f"{count} {'migration' if count == 1 else 'migrations'}:"
    )
    for one in found.pending:
        yield f"\n{one.number} {one.name} ({one.kind})"
        yield f"  {one.what}"
        yield from (f"  {line}" for line in _effects(one, is_new=found.schema == 0))


def _effects(step: "PlannedMigration", *, is_new: bool) -> Iterator[str]:
    if is_new or not step.effects:
        yield "Blocks nothing."
        return
    yield from (_effect(effect) for effect in step.effects)


def _effect(effect: "Effect") -> str:
    """Return a sentence on a lock, and how long it lasts."""
    table = effect.table or "a table"
    if effect.lasts == "a moment":
        return f"{_WORDS[effect.blocks]} {table} for a moment."
    rows = "" if effect.rows is None else f" (about {effect.rows:,})"
    return f"{_WORDS[effect.blocks]} {table}, for a time in proportion to its rows{rows}: seconds for a million."
