"""`waypost inbox` and `waypost show`: mail in lists, and one message."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from waypost.cli import timeline
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json, NotThere, ServerRefused, path_of
from waypost.cli.outcomes import print_json
from waypost.cli.timeline import plain


def inbox(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS",
            help="An email address, such as support@example.com; by default all of the account.",
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Those that are older than the one with this id.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 50,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List the mail that an address has, or all addresses of the account, newest first."""
    found = Client(data).get("messages", address=address, after=after, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found["messages"]:
        whose = f" for {plain(address)}" if address else ""
        typer.echo(f"No older mail{whose}." if after else f"No mail{whose} yet.")
    for message in found["messages"]:
        to = "" if address else f"for {message['address']}, "
        typer.echo(plain(f"{message['id']}  {message['received_at']}  {message['size']} octets  {to}{how(message)}"))
        typer.echo(plain(f"    from <{message['from']}>: {message['subject'] or '(no subject)'}"))
    if len(found["messages"]) == limit:
        last = found["messages"][-1]
        typer.echo(f"There may be more: --after {last['id'] if address else last['delivery']}")


def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id in the 250 reply, or from the inbox.")],
    text: Annotated[bool, typer.Option("--text", help="Print the text of the message alone, decoded.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the message as it was delivered, byte for byte.")] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="ADDRESS", help="For --text and --raw, whose copy; by default the first that is kept."
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show one message: where it went, and everything that happened to it; or what is in it."""
    if text + raw + as_json > 1 or (address and not (text or raw)):
        raise typer.BadParameter("choose one of --text, --raw and --json; --address goes with --text or --raw")
    server = Client(data)
    try:
        message = server.get(f"messages/{path_of(message_id)}")
    except NotThere as error:
        raise ServerRefused(
            f"{error} `waypost inbox` lists the ids of messages; `waypost trace` takes an address or a Message-ID."
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


def _copy(server: Client, message: dict[str, Any], address: str | None) -> Iterator[bytes]:
    """A message as it was delivered to an address, part by part."""
    if address is None:
        kept = [one for one in message["deliveries"] if one["in_inbox"]]
        address = (kept or message["deliveries"])[0]["address"]  # one that is not kept may still wait in the queue
    return server.download(f"messages/{path_of(message['id'])}/raw", address=address)


def _text(message: dict[str, Any], octets: bytes) -> str:
    from waypost.cli import readable

    found = readable.text_of(octets)
    if found is None:
        kinds = ", ".join(dict.fromkeys(readable.kinds_of(octets)))
        raise ServerRefused(f"Message {message['id']} has no text, but {kinds}. --raw prints it whole.")
    return found if found.endswith("\n") else found + "\n"


def how(delivery: Any) -> str:
    """How a delivery came to be, in a word or two."""
    return f"{delivery['reason']} through {delivery['via']}" if delivery["via"] else str(delivery["reason"])
