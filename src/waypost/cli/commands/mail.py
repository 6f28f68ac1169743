"""`waypost inbox` lists mail, and `waypost show` shows one message."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from waypost.app import inspection_schema as schema
from waypost.cli import timeline
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json, NotThere, ServerRefused, path_of
from waypost.cli.outcomes import print_json
from waypost.cli.timeline import plain


def inbox(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS",
            help="An email address, such as support@example.com. The default is all addresses in the account.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ID", help="List only messages that are older than the message with this id."),
    ] = None,
    limit: Annotated[int, typer.Option(help="The maximum number of messages to list.")] = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List the mail for an address, or for all addresses in the account, newest first."""
    found: schema.Messages = Client(data).get("messages", address=address, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found["messages"]:
        whose = f" for {plain(address)}" if address else ""
        typer.echo(f"No older mail{whose}." if after else f"No mail{whose} yet.")
    for message in found["messages"]:
        to = "" if address else f"for {message['address']}, "
        typer.echo(plain(f"{message['id']}  {message['received_at']}  {message['size']} bytes  {to}{how(message)}"))
        typer.echo(plain(f"    from <{message['from']}>: {message['subject'] or '(no subject)'}"))
    if len(found["messages"]) == limit:
        last = found["messages"][-1]
        typer.echo(f"There may be more: --after {last['id'] if address else last['delivery']}")


def show(
    message_id: Annotated[
        str, typer.Argument(metavar="ID", help="The message id from the 250 reply or from `waypost inbox`.")
    ],
    text: Annotated[bool, typer.Option("--text", help="Print only the text of the message, decoded.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the message as it was delivered, byte for byte.")] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="With --text or --raw: the email address whose copy is printed. The default is the first stored copy.",
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show one message with its deliveries and its trace, or print its text."""
    if text + raw + as_json > 1 or (address and not (text or raw)):
        raise typer.BadParameter("use only one of --text, --raw and --json, and --address only with --text or --raw")
    server = Client(data)
    try:
        message: schema.MessageWithTrace = server.get(f"messages/{path_of(message_id)}")
    except NotThere as error:
        raise ServerRefused(
            f"{error} `waypost inbox` lists the ids of messages, and `waypost trace` also accepts email addresses and "
            "Message-IDs."
        ) from error
    if raw:
        for part in _copy(server, message, address):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
    elif text:
        typer.echo(_text(message, b"".join(_copy(server, message, address))), nl=False)
    elif as_json:
        print_json(message)
    else:
        typer.echo("\n".join(timeline.message(message)))


def _copy(server: Client, message: schema.MessageWithTrace, address: str | None) -> Iterator[bytes]:
    """Yield the bytes of a message piece by piece, as the message was delivered to an address.

    If `address` is None, the first address that has a copy in its inbox is used or, if there is none, the address of
    the first delivery.
    """
    if address is None:
        kept = [one for one in message["deliveries"] if one["in_inbox"]]
        address = (kept or message["deliveries"])[0][
            "address"
        ]  # a delivery without a stored copy may still be waiting in the queue
    return server.download(f"messages/{path_of(message['id'])}/raw", address=address)


def _text(message: schema.MessageWithTrace, octets: bytes) -> str:
    from waypost.cli import readable

    found = readable.text_of(octets)
    if found is None:
        kinds = ", ".join(dict.fromkeys(readable.kinds_of(octets)))
        raise ServerRefused(
            f"Message {message['id']} has no text; its parts are {kinds}. Use --raw to print the whole message."
        )
    return found if found.endswith("\n") else found + "\n"


def how(delivery: schema.DeliveryInList | schema.DeliveryOfMessage | schema.ExplainedDelivery) -> str:
    """Return the reason for a delivery in a few words, such as "forwarded through support@example.com"."""
    return f"{delivery['reason']} through {delivery['via']}" if delivery["via"] else str(delivery["reason"])
