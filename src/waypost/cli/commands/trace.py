"""`waypost trace` shows everything that happened to a message or to the mail of an address."""

from typing import Annotated

import click

from waypost.app import inspection_schema as schema
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Argument, Option
from waypost.client import timeline


def trace(
    what: Annotated[
        str,
        Argument(
            metavar="ID|ADDRESS|MESSAGE-ID",
            help="The message id from the 250 reply, an email address that received mail, or a Message-ID.",
        ),
    ],
    limit: Annotated[
        int, Option(help="The maximum number of messages to show. The same limit applies to refusals.")
    ] = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show everything that happened to mail, including refusals, deferrals and dead letters."""
    found: schema.Traced = Client(data).get("trace", what=what, limit=limit)
    if as_json:
        print_json(found)
        return
    blocks = [timeline.message(message) for message in found["messages"]]
    blocks += [timeline.refusal(refusal) for refusal in found["refusals"]]
    click.echo("\n\n".join("\n".join(block) for block in blocks))
