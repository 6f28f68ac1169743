"""`waypost explain`: what would happen to mail, and why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.client import DEFAULT_DATA, Address, Client, Data, Json, ServerRefused, how
from waypost.cli.timeline import plain

_HEADER_OCTETS = 256 * 1024 + 4
"""Octets of a message that are shown to the server, which reads its header alone: the longest, and what ends it."""


def explain(
    address: Address,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="SENDER", help='Who sends it: an address, or "" for the null sender.'),
    ] = None,
    message: Annotated[
        Path | None, typer.Option("--message", metavar="FILE", help="The message, of which the header counts.")
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Say what would happen to mail for an address, and why. Nothing is sent."""
    asked = {"address": address, "from": sender}
    server = Client(data)
    octets = _beginning(message) if message else None
    found = server.get("explain", **asked) if octets is None else server.post_message("explain", octets, **asked)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if found["accepted"]:
        typer.echo(f"Mail for {found['address']} would be accepted.")
    elif found["loop"] and found["loop"]["is_loop"]:
        typer.echo(f"This message for {found['address']} would be refused: {found['loop']['because']}.")
    for delivery in found["deliveries"]:
        for line in _told(delivery):
            typer.echo(line)
    for sentence in found["because"]:
        typer.echo(f"  {sentence}")
    if found["loop"]:
        loop = found["loop"]
        typer.echo(f"  It has {loop['received_lines']} Received lines; {loop['most_received_lines']} is the most.")


def _told(delivery: dict[str, Any]) -> Iterator[str]:
    """A delivery that there would be, and what others would think of it."""
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
    for name, one in (delivery["expected"] or {}).items():
        yield plain(f"      {name.upper():5} {one['outcome']}: {one['because']}")


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEADER_OCTETS)
    except OSError as error:
        raise ServerRefused(f"{file} cannot be read: {error.strerror}.") from error
