"""`waypost queue`, `waypost dead` and `waypost replay` list deliveries and attempt them again."""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import click

from waypost.app import inspection_schema as schema
from waypost.cli.client import DEFAULT_DATA, Address, Client, Data, Json, NotThere, ServerRefused, path_of
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Argument, Group, Option
from waypost.cli.terminal import print_octets
from waypost.client import timeline
from waypost.client.text import plain
from waypost.domain import durations
from waypost.domain.mail.trace_events import address_of

Limit = Annotated[int, Option(help="The maximum number of entries to list.")]
After = Annotated[str | None, Option("--after", metavar="ID", help="List only entries after the entry with this id.")]
OfAddress = Annotated[
    str | None, Option("--address", metavar="ADDRESS", help="Select only dead letters for this email address.")
]
Since = Annotated[
    str | None,
    Option(
        "--since",
        metavar="WHEN",
        help="Select only mail received since this time, such as 2h (ago) or 2026-11-22T23:14:05Z.",
    ),
]
OlderThan = Annotated[
    str | None,
    Option(
        "--older-than",
        metavar="WHEN",
        help="Select only dead letters that were given up before this time, such as 30d (ago) or 2026-11-22T23:14:05Z.",
    ),
]
ToDestination = Annotated[
    str | None,
    Option("--destination", metavar="TO", help="Select only dead letters for this destination, as the list shows it."),
]
LetterId = Annotated[str, Argument(metavar="ID", help="The id of a dead letter, as shown by `waypost dead list`.")]

dead = Group(help="Manage dead letters: failed deliveries, which are kept and can be redriven.")

_AGO = re.compile(r"([0-9]{1,9}) ?([dhms])( ago)?", re.ASCII)


def queue(
    destination: Annotated[
        str | None, Option("--destination", metavar="TO", help="List only mail for this destination.")
    ] = None,
    after: After = None,
    limit: Limit = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List the deliveries that are waiting for their next attempt, and their destinations."""
    found: schema.Queue = Client(data).get("queue", destination=destination, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if found["is_held"]:
        click.echo("The queue is held: nothing is sent until the server is restarted without --hold-queue.")
    if not found["deliveries"]:
        click.echo("The queue is empty.")
    for to in found["destinations"]:
        click.echo(plain(f"{to['waiting']} for {to['destination']}, the first due {to['due_at']}"))
    for line in found["deliveries"]:
        when = "is being attempted now" if line["is_attempted_now"] else f"next attempt {line['due_at']}"
        click.echo(plain(f"{line['id']}  {when}"))
        click.echo(_summary(line))
        click.echo(plain(f"    by {line['destination']}; attempts so far: {line['attempts']}"))
        if line["because"]:
            click.echo(plain(f"    {line['because']}"))
    _print_next_page(found["deliveries"], limit)


@dead.command("list")
def listed(
    address: OfAddress = None,
    since: Since = None,
    older_than: OlderThan = None,
    destination: ToDestination = None,
    after: After = None,
    limit: Limit = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List dead letters in the order in which their messages arrived, with the reason for each failure."""
    server = Client(data)
    found: schema.DeadLetters = server.get(
        "dead-letters",
        address=address,
        since=_moment(server, since),
        given_up_before=_moment(server, older_than, of="--older-than"),
        destination=destination,
        after=after,
        limit=limit,
    )
    if as_json:
        print_json(found)
        return
    if not found["dead_letters"]:
        click.echo("There are no dead letters.")
    for letter in found["dead_letters"]:
        click.echo(plain(f"{letter['id']}  given up {letter['given_up_at']}"))
        click.echo(_summary(letter))
        click.echo(plain(f"    {letter['because']}"))
    _print_next_page(found["dead_letters"], limit)


@dead.command()
def show(letter_id: LetterId, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Show a dead letter and its trace."""
    message, delivery = _letter(Client(data), letter_id)
    about = {"", delivery["address"]}
    events = [event for event in message["trace"] if address_of(timeline.detail_of(event)) in about]
    message["deliveries"], message["trace"] = [delivery], events
    if as_json:
        print_json(message)
    else:
        click.echo("\n".join(timeline.message(message)))


@dead.command()
def download(
    letter_id: LetterId,
    output: Annotated[
        Path | None,
        Option("--output", metavar="FILE", help="Write the message to this new file instead of standard output."),
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print a dead letter exactly as it would be delivered, byte for byte."""
    server = Client(data)
    message, delivery = _letter(server, letter_id)
    parts = server.download(f"messages/{path_of(message['id'])}/raw", address=delivery["address"])
    if output is None:
        print_octets(parts)
        return
    first = next(parts)  # if the server refuses the request, no file is created
    try:
        # The file is readable only by the user who runs the command.
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for part in (first, *parts):
                file.write(part)
    except OSError as error:
        raise ServerRefused(f"{output} cannot be written: {error.strerror}.") from error


@dead.command()
def redrive(
    letter_ids: Annotated[tuple[str, ...], Argument(metavar="ID", help="Ids of dead letters.")] = (),
    all_of_them: Annotated[
        bool,
        Option("--all", help="Redrive all dead letters, or all that match --address and --since if these are given."),
    ] = False,
    address: OfAddress = None,
    since: Since = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Redrive dead letters: attempt to deliver them again over their current routes, as if they were new."""
    if bool(letter_ids) is (all_of_them or bool(address or since)):
        raise ServerRefused("Name the dead letters to redrive: give their ids, or use --all, --address or --since.")
    _refuse_too_many(letter_ids)
    server = Client(data)
    which = {"address": address, "since": _moment(server, since)}
    body: dict[str, Any] = {"ids": letter_ids} if letter_ids else {"all": True, **which}
    _print(server.post("dead-letters/redrive", body), "Dead letters redriven: {redriven}.", as_json=as_json)


@dead.command()
def remove(
    letter_ids: Annotated[tuple[str, ...], Argument(metavar="ID", help="Ids of dead letters.")] = (),
    all_of_them: Annotated[
        bool,
        Option("--all", help="Remove all dead letters, or all that match the other options if these are given."),
    ] = False,
    address: OfAddress = None,
    since: Since = None,
    older_than: OlderThan = None,
    destination: ToDestination = None,
    yes: Annotated[bool, Option("--yes", help="Do not ask for a confirmation.")] = False,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Remove dead letters for good. A message is deleted with its last delivery, and cannot be redriven then."""
    filters = (address, since, older_than, destination)
    if bool(letter_ids) is (all_of_them or any(filters)):
        raise ServerRefused(
            "Name the dead letters to remove: give their ids, or use --all, --older-than, --destination, --address or "
            "--since."
        )
    _refuse_too_many(letter_ids)
    server = Client(data)
    which = {
        "address": address,
        "since": _moment(server, since),
        "given_up_before": _moment(server, older_than, of="--older-than"),
        "destination": destination,
    }
    given = {name: value for name, value in which.items() if value is not None}
    body: dict[str, Any] = {"ids": letter_ids} if letter_ids else {"all": True, **given}
    if not yes:
        _confirm(server.post("dead-letters/remove", {**body, "dry_run": True})["removed"])
    _print(server.post("dead-letters/remove", body), "Dead letters removed: {removed}.", as_json=as_json)


def _refuse_too_many(letter_ids: Sequence[str]) -> None:
    """Raise `ServerRefused` for more ids than the server takes in one call, of which it changes all or none."""
    from waypost.app.queue.redrive import AT_ONCE

    if len(letter_ids) > AT_ONCE:
        raise ServerRefused(
            f"Give at most {AT_ONCE} ids at once, not {len(letter_ids):,}: for example with `xargs -n {AT_ONCE}`. Or "
            "select the dead letters with the options instead."
        )
    if "" in letter_ids:
        raise ServerRefused("One of the ids is empty.")


def _confirm(count: int) -> None:
    """Ask a person whether to remove this number of dead letters. Raises `ServerRefused` if there is no person, and
    `click.Abort` if the person does not agree.
    """
    what = f"{count} dead letter{'' if count == 1 else 's'}"
    if not sys.stdin.isatty():
        raise ServerRefused(
            f"This command would remove {what}. It cannot ask for a confirmation, because its input is no terminal. "
            "Add --yes."
        )
    click.confirm(f"Remove {what} for good?", abort=True, err=True)


def replay(
    alias: Address,
    since: Annotated[
        str | None,
        Option(
            "--since",
            metavar="WHEN",
            help="Required: forward only mail received since this time, such as 2h (ago) or 2026-11-22T23:14:05Z.",
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Forward the mail that an alias has received since a given time to the alias's current primary."""
    if since is None:
        raise click.BadParameter("give the start of the period, such as --since 2h", param_hint="--since")
    server = Client(data)
    found = server.post("replay", {"address": alias, "since": _moment(server, since)})
    _print(found, "Messages forwarded again: {forwarded}.", as_json=as_json)


def _summary(one: schema.QueueLine | schema.DeadLetter) -> str:
    """Return a line with the recipient, sender and subject of a delivery."""
    return plain(f"    for {one['address']}, from <{one['from']}>: {one['subject'] or '(no subject)'}")


def _letter(server: Client, letter_id: str) -> tuple[schema.MessageWithTrace, schema.DeliveryOfMessage]:
    """Return the message and the delivery of a dead letter. Raises `ServerRefused` if there is no such dead letter."""
    with suppress(NotThere):
        message: schema.MessageWithTrace = server.get(f"messages/{path_of(letter_id.partition('.')[0])}")
        for delivery in message["deliveries"]:
            if delivery["id"] == letter_id and delivery["status"] == "dead":
                return message, delivery
    raise ServerRefused(f"{letter_id} is not a dead letter. `waypost dead list` lists the dead letters.")


def _moment(server: Client, when: str | None, *, of: str = "--since") -> str | None:
    """Convert a time, or a duration such as `2h`, to a time in the format that the server expects.

    A duration is subtracted from the current time on the server's clock, which may be virtual. `of` is the option, for
    the error message. Raises `ServerRefused`.
    """
    ago = _AGO.fullmatch(when or "")
    if ago is None:
        if when is not None and not _is_moment(when):
            raise ServerRefused(
                f"{of} must be a duration, such as 2h (ago), or a time with a time zone, such as "
                f"2026-11-22T23:14:05Z, not {when!r}."
            )
        return when
    clock: schema.Clock = server.get("clock")
    now = datetime.fromisoformat(clock["now"])
    try:
        return (now - int(ago[1]) * durations.UNITS[ago[2]]).isoformat()
    except OverflowError as error:
        raise ServerRefused(f"{when} is too long ago.") from error


def _is_moment(text: str) -> bool:
    with suppress(ValueError):
        return datetime.fromisoformat(text).tzinfo is not None
    return False


def _print_next_page(found: Sequence[schema.QueueLine | schema.DeadLetter], limit: int) -> None:
    if len(found) == limit:
        click.echo(f"There may be more: --after {found[-1]['id']}")


def _print(found: schema.Redriven | schema.Replayed | schema.Removed, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(sentence.format_map(found))
