"""`waypost explain`: what would happen to mail, and why."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from waypost.app import inspection_schema as schema
from waypost.cli.client import DEFAULT_DATA, Address, Client, Data, Json, ServerRefused
from waypost.cli.commands.mail import how
from waypost.cli.outcomes import Exit, print_json
from waypost.cli.timeline import plain

_HEADER_OCTETS = 256 * 1024 + 4
"""Octets of a message that are sent to the server, which reads only the header: the longest header, and its end."""

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
"""The beginning of a header field (RFC 5322 section 3.6.8)."""


def explain(
    address: Address,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="SENDER", help='The sender: an address, or "" for the null sender.'),
    ] = None,
    message: Annotated[
        Path | None,
        typer.Option("--message", metavar="FILE", help="A file with the message, of which the header is read."),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show what would happen to mail for an address, and why. Nothing is sent. Exits with 1 if the mail would be
    refused.
    """
    asked = {"address": address, "from": sender}
    server = Client(data)
    octets = _beginning(message) if message else None
    found: schema.Explanation
    found = server.get("explain", **asked) if octets is None else server.post_message("explain", octets, **asked)
    _tell(found, octets, as_json=as_json)
    if not found["accepted"]:
        raise typer.Exit(Exit.REFUSED)


def _tell(found: schema.Explanation, octets: bytes | None, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if not found["accepted"]:
        loop = found["loop"]
        because = f"{loop['because']}." if loop and loop["is_loop"] else " ".join(found["because"])
        typer.echo(plain(f"Mail for {found['address']} would be refused: {because}"))
    else:
        typer.echo(plain(f"Mail for {found['address']} would be accepted."))
        for delivery in found["deliveries"]:
            for line in _told(delivery):
                typer.echo(line)
        for sentence in found["because"]:
            typer.echo(plain(f"  {sentence}"))
    for line in _of_message(found["loop"], octets or b""):
        typer.echo(line)


def _of_message(loop: schema.LoopCheck | None, octets: bytes) -> Iterator[str]:
    """Lines about the message itself, if there is one."""
    if loop:
        lines = "1 Received line" if loop["received_lines"] == 1 else f"{loop['received_lines']} Received lines"
        yield f"  The message has {lines}; {loop['most_received_lines']} is the most."
        if not _FIELD.match(octets):
            yield "  It has no header field at its beginning: is the file a message?"


def _told(delivery: schema.ExplainedDelivery) -> Iterator[str]:
    """Lines about a delivery that would be made, and how receivers would judge it."""
    route = delivery["route"]
    leads_to = f", by {delivery['destination']}" if delivery["destination"] else ""
    also = ", and in its inbox" if delivery["destination"] and delivery["in_inbox"] else ""
    yield plain(f"  {how(delivery)} -> {delivery['address']}{leads_to}{also}")
    if route:
        number = f"route {route['number']}" if route["number"] else "the route of the settings file"
        yield plain(f"      {number} for {route['match']}")
        if route["fault"]:
            yield plain(f"      A FAULT ON PURPOSE: {route['fault']}")
    if delivery["sender"]:
        domain = delivery["sender"]["rewritten_to"]
        how_so = f"rewritten, into {domain}" if domain else "as it is"
        yield plain(f"      sender {how_so}: {delivery['sender']['because']}")
    if expected := delivery["expected"]:
        for name, one in [("SPF", expected["spf"]), ("DKIM", expected["dkim"]), ("DMARC", expected["dmarc"])]:
            yield plain(f"      {name:5} {one['outcome']}: {one['because']}")


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEADER_OCTETS)
    except OSError as error:
        raise ServerRefused(f"{file} cannot be read: {error.strerror}.") from error
