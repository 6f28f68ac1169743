"""`waypost queue`, `dead` and `replay`: what waits, what was given up, and having it tried again."""

import os
import re
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli import timeline
from waypost.cli.client import DEFAULT_DATA, Address, Client, Data, Json, NotThere, ServerRefused, path_of
from waypost.cli.outcomes import print_json
from waypost.cli.timeline import plain
from waypost.domain import durations

Limit = Annotated[int, typer.Option(help="How many at most.")]
After = Annotated[str | None, typer.Option("--after", metavar="ID", help="Those behind this one.")]
OfAddress = Annotated[str | None, typer.Option("--address", metavar="ADDRESS", help="Those of this email address.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Those received from then on: 2h, or 2026-11-22T23:14:05Z."),
]
LetterId = Annotated[str, typer.Argument(metavar="ID", help="The id of a dead letter, as in `waypost dead list`.")]

dead = typer.Typer(help="Dead letters: mail that was given up, and is kept whole.", no_args_is_help=True)

_AGO = re.compile(r"([0-9]{1,9}) ?([dhms])( ago)?", re.ASCII)


def queue(
    destination: Annotated[
        str | None, typer.Option("--destination", metavar="TO", help="What waits for this destination alone.")
    ] = None,
    after: After = None,
    limit: Limit = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List the mail that waits for its next attempt, and where it is to go."""
    found = Client(data).get("queue", destination=destination, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found["deliveries"]:
        typer.echo("Nothing waits.")
    for to in found["destinations"]:
        typer.echo(plain(f"{to['waiting']} for {to['destination']}, the first due {to['due_at']}"))
    for line in found["deliveries"]:
        when = "is being attempted now" if line["is_attempted_now"] else f"next attempt {line['due_at']}"
        typer.echo(plain(f"{line['id']}  {when}"))
        typer.echo(_what(line))
        typer.echo(plain(f"    by {line['destination']}; attempts so far: {line['attempts']}"))
        if line["because"]:
            typer.echo(plain(f"    {line['because']}"))
    _tell_of_more(found["deliveries"], limit)


@dead.command("list")
def listed(
    address: OfAddress = None,
    since: Since = None,
    after: After = None,
    limit: Limit = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List dead letters in the order in which they came, and why they were given up."""
    server = Client(data)
    when = _moment(server, since)
    found = server.get("dead-letters", address=address, since=when, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found["dead_letters"]:
        typer.echo("There are no dead letters.")
    for letter in found["dead_letters"]:
        typer.echo(plain(f"{letter['id']}  given up {letter['given_up_at']}"))
        typer.echo(_what(letter))
        typer.echo(plain(f"    {letter['because']}"))
    _tell_of_more(found["dead_letters"], limit)


@dead.command()
def show(letter_id: LetterId, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Show a dead letter: everything that happened to it."""
    message, delivery = _letter(Client(data), letter_id)
    events = [event for event in message["trace"] if event.get("address", delivery["address"]) == delivery["address"]]
    message |= {"deliveries": [delivery], "trace": events}
    if as_json:
        print_json(message)
    else:
        typer.echo("\n".join(timeline.message(message)))


@dead.command()
def download(
    letter_id: LetterId,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="A new file for it; else it is printed.")
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print a dead letter as it would have been delivered, byte for byte."""
    server = Client(data)
    message, delivery = _letter(server, letter_id)
    parts = server.download(f"messages/{path_of(message['id'])}/raw", address=delivery["address"])
    if output is None:
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    first = next(parts)  # where the server refuses, no file is made
    try:
        # Mail is for its owner's eyes.
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for part in (first, *parts):
                file.write(part)
    except OSError as error:
        raise ServerRefused(f"{output} cannot be written: {error.strerror}.") from error


@dead.command()
def redrive(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of dead letters.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All there are, or all of an address, or since.")] = False,
    address: OfAddress = None,
    since: Since = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Have dead letters tried again, as if they were new, over the route that holds now."""
    if bool(letter_ids) is (all_of_them or bool(address or since)):
        raise ServerRefused("Say which dead letters: by their ids; or --all, or all with --address or --since.")
    server = Client(data)
    which = {"address": address, "since": _moment(server, since)}
    body: dict[str, Any] = {"ids": letter_ids} if letter_ids else {"all": True, **which}
    _tell(server.post("dead-letters/redrive", body), "Dead letters tried again: {redriven}.", as_json=as_json)


def replay(
    alias: Address,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="From when on (needed): 2h, or 2026-11-22T23:14:05Z."),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Forward again what an alias has kept since a moment, to the email address that it is an alias of now."""
    if since is None:
        raise typer.BadParameter("say from when on, such as --since 2h", param_hint="--since")
    server = Client(data)
    found = server.post("replay", {"address": alias, "since": _moment(server, since)})
    _tell(found, "Messages forwarded again: {forwarded}.", as_json=as_json)


def _what(one: dict[str, Any]) -> str:
    """A line about which mail a delivery is."""
    return plain(f"    for {one['address']}, from <{one['from']}>: {one['subject'] or '(no subject)'}")


def _letter(server: Client, letter_id: str) -> tuple[Any, Any]:
    """The message of a dead letter, and its delivery."""
    with suppress(NotThere):
        message = server.get(f"messages/{path_of(letter_id.partition('.')[0])}")
        for delivery in message["deliveries"]:
            if delivery["id"] == letter_id and delivery["status"] == "dead":
                return message, delivery
    raise ServerRefused(f"{letter_id} is not a dead letter. `waypost dead list` lists those there are.")


def _moment(server: Client, when: str | None) -> str | None:
    """A moment as the server takes it. What is so long ago is so by the server's clock, which may be a virtual one."""
    ago = _AGO.fullmatch(when or "")
    if ago is None:
        if when is not None and not _is_moment(when):
            raise ServerRefused(
                f"--since must be how long ago, as in 2h, or a moment with its time zone, as in 2026-11-22T23:14:05Z, "
                f"not {when!r}."
            )
        return when
    now = datetime.fromisoformat(server.get("clock")["now"])
    try:
        return (now - int(ago[1]) * durations.UNITS[ago[2]]).isoformat()
    except OverflowError as error:
        raise ServerRefused(f"{when} is too long ago.") from error


def _is_moment(text: str) -> bool:
    with suppress(ValueError):
        return datetime.fromisoformat(text).tzinfo is not None
    return False


def _tell_of_more(found: list[dict[str, Any]], limit: int) -> None:
    if len(found) == limit:
        typer.echo(f"There may be more: --after {found[-1]['id']}")


def _tell(found: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        typer.echo(sentence.format_map(found))
