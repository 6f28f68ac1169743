"""`waypost explain` shows what would happen to mail for an address, and why."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import click

from waypost.app import inspection_schema as schema
from waypost.cli.client import DEFAULT_DATA, Address, Client, Data, Json, ServerRefused
from waypost.cli.commands.mail import how
from waypost.cli.outcomes import Exit, print_json
from waypost.cli.parameters import Option
from waypost.client.text import plain

_HEADER_OCTETS = 256 * 1024 + 4
"""How many bytes of a message are sent to the server: enough for the longest allowed header and the empty line after
it.

The server needs only the header.
"""

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
"""The name and colon with which a header field begins (RFC 5322 section 3.6.8)."""


def explain(
    address: Address,
    sender: Annotated[
        str | None,
        Option("--from", metavar="SENDER", help='The sender: an address, or "" for the null sender.'),
    ] = None,
    message: Annotated[
        Path | None,
        Option("--message", metavar="FILE", help="A file that contains a message. Only the message's header is read."),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show what would happen to mail for an address, and why.

    The command sends no mail. The exit code is 1 if the server would refuse the mail.
    """
    query = {"address": address, "from": sender}
    server = Client(data)
    octets = _beginning(message) if message else None
    found: schema.Explanation
    found = server.get("explain", **query) if octets is None else server.post_message("explain", octets, **query)
    _print(found, octets, as_json=as_json)
    if not found["accepted"]:
        raise click.exceptions.Exit(Exit.REFUSED)


def _print(found: schema.Explanation, octets: bytes | None, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if not found["accepted"]:
        loop = found["loop"]
        because = f"{loop['because']}." if loop and loop["is_loop"] else " ".join(found["because"])
        click.echo(plain(f"Mail for {found['address']} would be refused: {because}"))
    else:
        click.echo(plain(f"Mail for {found['address']} would be accepted."))
        for delivery in found["deliveries"]:
            for line in _delivery_lines(delivery):
                click.echo(line)
        for sentence in found["because"]:
            click.echo(plain(f"  {sentence}"))
    for line in _message_lines(found["loop"], octets or b""):
        click.echo(line)


def _message_lines(loop: schema.LoopCheck | None, octets: bytes) -> Iterator[str]:
    """Yield lines about the message itself, if a message was given."""
    if loop:
        lines = "1 Received line" if loop["received_lines"] == 1 else f"{loop['received_lines']} Received lines"
        yield f"  The message has {lines}; the maximum is {loop['most_received_lines']}."
        if not _FIELD.match(octets):
            yield "  The file does not begin with a header field, so it may not be a message."


def _delivery_lines(delivery: schema.ExplainedDelivery) -> Iterator[str]:
    """Yield lines about a delivery that would be made, and about the expected SPF, DKIM and DMARC results."""
    route = delivery["route"]
    destination = f", by {delivery['destination']}" if delivery["destination"] else ""
    copy = ", and in its inbox" if delivery["destination"] and delivery["in_inbox"] else ""
    yield plain(f"  {how(delivery)} -> {delivery['address']}{destination}{copy}")
    if route:
        number = f"route {route['number']}" if route["number"] else "the route in the settings file"
        yield plain(f"      {number} for {route['match']}")
        if route["fault"]:
            yield plain(f"      INJECTED FAULT: {route['fault']}")
    if delivery["sender"]:
        domain = delivery["sender"]["rewritten_to"]
        change = f"rewritten to {domain}" if domain else "unchanged"
        yield plain(f"      sender {change}: {delivery['sender']['because']}")
    if expected := delivery["expected"]:
        for name, one in [("SPF", expected["spf"]), ("DKIM", expected["dkim"]), ("DMARC", expected["dmarc"])]:
            yield plain(f"      {name:5} {one['outcome']}: {one['because']}")


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEADER_OCTETS)
    except OSError as error:
        raise ServerRefused(f"{file} cannot be read: {error.strerror}.") from error
