"""`waypost inbox` lists mail, and `waypost search` finds mail."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated

import click

from waypost.app import inspection_schema as schema
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json
from waypost.cli.outcomes import print_json, print_note
from waypost.cli.parameters import Argument, Option
from waypost.client import changes, timeline
from waypost.client.text import plain
from waypost.domain.directory import addresses

PAGE = 50
"""The number of messages that are listed by default."""


def inbox(
    address: Annotated[
        str | None,
        Argument(
            metavar="ADDRESS",
            help="An email address, such as support@example.com. The default is all addresses in the account.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        Option("--after", metavar="ID", help="List only messages that are older than the message with this id."),
    ] = None,
    limit: Annotated[
        int | None,
        Option(
            metavar="NUMBER",
            help=f"The maximum number of messages to list. The default is {PAGE}. With --follow: end after this many "
            "messages. The default is to continue until Ctrl-C.",
        ),
    ] = None,
    follow: Annotated[
        bool,
        Option(
            "--follow",
            help="Print new mail as it arrives, until Ctrl-C. If the server restarts, continue after the last message.",
        ),
    ] = False,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List the mail for an address, or for all addresses in the account, newest first."""
    if follow:
        if after or (limit is not None and limit < 1):
            raise click.BadParameter("use --follow without --after, and with a --limit of at least 1")
        with suppress(KeyboardInterrupt):
            _follow(data, address, limit, as_json=as_json)
        return
    limit = PAGE if limit is None else limit
    found: schema.Messages = Client(data).get("messages", address=address, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found["messages"]:
        whose = f" for {plain(address)}" if address else ""
        click.echo(f"No older mail{whose}." if after else f"No mail{whose} yet.")
    _print(found["messages"], with_address=not address)
    if len(found["messages"]) == limit:
        last = found["messages"][-1]
        click.echo(f"There may be more: --after {last['id'] if address else last['delivery']}")


def search(
    query: Annotated[
        tuple[str, ...],
        Argument(
            metavar="QUERY",
            help="Words, and operators such as from:ann@example.com, after:2026-11-01 or is:dead. A message must match "
            "all of them. A phrase needs quotation marks of its own inside those of the shell: "
            "'subject:\"your order\"'.",
        ),
    ],
    after: Annotated[
        str | None,
        Option("--after", metavar="CURSOR", help="List the next page, with the value from the previous page."),
    ] = None,
    limit: Annotated[int, Option(metavar="NUMBER", help="The maximum number of messages to list.")] = PAGE,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Find mail by words of its text and by operators, newest first, or refusals with is:refused."""
    found: schema.Results = Client(data).get("search", q=" ".join(query), after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if not (found["messages"] or found["refusals"]):
        click.echo("No older mail matches." if after else "No mail matches.")
    _print(found["messages"], with_address=True)
    for refusal in found["refusals"]:
        click.echo("\n".join(timeline.refusal(refusal)))
    if found["next"] is not None:
        click.echo(f"There may be more: --after {plain(found['next'])}")
    if found["indexed_until"] is not None:
        click.echo(
            f"The text index has the mail up to {plain(found['indexed_until'])}. Newer mail may match too: search "
            "again later."
        )


def how(delivery: schema.DeliveryInList | schema.DeliveryOfMessage | schema.ExplainedDelivery) -> str:
    """Return the reason for a delivery in a few words, such as "forwarded through support@example.com"."""
    return f"{delivery['reason']} through {delivery['via']}" if delivery["via"] else str(delivery["reason"])


def _print(messages: Sequence[schema.DeliveryInList], *, with_address: bool) -> None:
    for message in messages:
        to = f"for {message['address']}, " if with_address else ""
        click.echo(plain(f"{message['id']}  {message['received_at']}  {message['size']} bytes  {to}{how(message)}"))
        click.echo(plain(f"    from <{message['from']}>: {message['subject'] or '(no subject)'}"))


def _follow(data: str, address: str | None, limit: int | None, *, as_json: bool) -> None:
    """Print new mail for an address, or for all addresses in the account, as it arrives."""
    if address:
        Client(data).get("messages", address=address, limit=1)  # refuses an address that does not exist
    key = addresses.parse(address).key if address else ""
    left = limit
    for change in changes.follow(partial(Client, data), note=partial(print_note, as_json=as_json)):
        found = change.deliveries if change.kind == "new" else []
        new = [one for one in found if not key or addresses.parse(one["address"]).key == key][:left]
        for delivery in new:
            if as_json:
                click.echo(json.dumps(delivery))
            else:
                _print([delivery], with_address=not address)
        left = None if left is None else left - len(new)
        if left == 0:
            return
