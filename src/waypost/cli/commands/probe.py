"""`waypost routes test` sends a message to an email address, and follows the message's delivery over its route."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Annotated

import click

from waypost.app import inspection_schema as schema
from waypost.cli.client import DEFAULT_DATA, Address, Client, Data, Json, ServerRefused
from waypost.cli.outcomes import Exit, print_error, print_json, print_note
from waypost.cli.parameters import Option
from waypost.client import timeline
from waypost.client.text import plain
from waypost.domain.mail.trace_events import DeferredEvent

CHECK_EVERY = 0.1
"""The time, in seconds, between two requests to the server for the message's trace."""

QUIET_SECONDS = 5.0
"""After this many seconds without a new event, the command prints the deliveries that it is waiting for."""

_ACCEPTED = re.compile(rb"2\.0\.0 ([0-9a-f-]{36}) ")


def probe(
    address: Address,
    wait: Annotated[
        float,
        Option(
            "--wait",
            metavar="SECONDS",
            help="The maximum time, in seconds, to wait for the first attempt of each delivery.",
        ),
    ] = 60.0,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Send a real message to an email address, and print events until each delivery has been attempted."""
    server = Client(data)
    found: schema.Explanation = server.get("explain", address=address)
    if not found["accepted"]:
        raise ServerRefused(" ".join(found["because"]))
    message_id = _send(server, address)
    if not as_json:
        click.echo(f"Message {message_id} was accepted for {plain(address)}.")
    message = _followed(server, message_id, wait, print_events=not as_json)
    waiting = list(_not_tried(message))
    if as_json:
        print_json(message)
    failed = [one for one in message["deliveries"] if one["status"] != "delivered"]
    for one in failed:
        tried = "was not attempted yet" if one in waiting else "waits for its next attempt"
        now = tried if _waits(one) else "was given up"
        print_error(f"The delivery to {plain(one['address'])} {now}.", Exit.REFUSED, as_json=as_json)
    if failed:
        raise click.exceptions.Exit(Exit.REFUSED)


def _followed(server: Client, message_id: str, wait: float, *, print_events: bool) -> schema.MessageWithTrace:
    """Return the message once each of its deliveries has been attempted, or after `wait` seconds.

    If `print_events` is true, print each event when it appears in the message's trace.
    """
    deadline = time.monotonic() + wait
    report_at = time.monotonic() + QUIET_SECONDS
    printed = 0
    while True:
        message: schema.MessageWithTrace = server.get(f"messages/{message_id}")
        for event in message["trace"][printed:]:
            report_at = time.monotonic() + QUIET_SECONDS
            if print_events:
                click.echo("\n".join(timeline.event_lines(event)))
        printed = len(message["trace"])
        waiting = list(_not_tried(message))
        now = time.monotonic()
        if not waiting or now > deadline:
            return message
        if now > report_at:
            print_note(_still_waits(waiting, wait), as_json=not print_events)
            report_at = deadline
        time.sleep(CHECK_EVERY)


def _not_tried(message: schema.MessageWithTrace) -> Iterator[schema.DeliveryOfMessage]:
    """Yield the deliveries that have not been attempted yet."""
    details = [timeline.detail_of(event) for event in message["trace"]]
    tried = {detail.address for detail in details if isinstance(detail, DeferredEvent)}
    return (one for one in message["deliveries"] if _waits(one) and one["address"] not in tried)


def _still_waits(waiting: list[schema.DeliveryOfMessage], wait: float) -> str:
    addresses = ", ".join(dict.fromkeys(plain(one["address"]) for one in waiting))
    return (
        f"No attempt has ended yet for {addresses}. This command waits for at most {wait:g} s in total (--wait). If a "
        "destination has just failed, the server does not try it again for about a minute. Ctrl-C ends this command, "
        "but the server continues to attempt the delivery."
    )


def _waits(delivery: schema.DeliveryOfMessage) -> bool:
    return delivery["status"] == "queued"


def _send(server: Client, address: str) -> str:
    """Send the test message over SMTP and return its id. Raises `ServerRefused`.

    The test message has the null sender, so that a failure causes no bounce.
    """
    import smtplib

    from waypost.server import own_smtp

    try:
        with own_smtp.connected(server.run.smtp) as client:
            _expect(client.mail("", [] if address.isascii() else ["SMTPUTF8"]))
            _expect(client.rcpt(address))
            reply = _expect(client.data(_message(address, client.ehlo_resp or b"")))
    except (OSError, smtplib.SMTPException) as error:
        raise ServerRefused(f"The mail server at {server.run.smtp} did not accept the test message: {error}") from error
    accepted = _ACCEPTED.match(reply)
    if accepted is None:
        raise ServerRefused(f"The mail server at {server.run.smtp} is not Waypost. It replied: {_text(reply)}")
    return accepted[1].decode()


def _expect(reply: tuple[int, bytes]) -> bytes:
    code, text = reply
    if code >= 300:
        raise ServerRefused(f"The server refused the test message: {code} {_text(text)}")
    return text


def _text(reply: bytes) -> str:
    return plain(reply.decode("utf-8", "replace"))


def _message(address: str, greeting: bytes) -> bytes:
    hostname = greeting.split(maxsplit=1)[0].decode("ascii", "replace") if greeting.strip() else "localhost"
    now = datetime.now(UTC)
    lines = [
        f"From: Waypost <postmaster@{hostname}>",
        f"To: <{address}>",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <probe.{now:%Y%m%d%H%M%S%f}@{hostname}>",
        f"Subject: Test of the route for {address}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        "An operator sent this message with `waypost routes test` to test the route for this address.",
        "You can delete it.",
        "",
    ]
    return "\r\n".join(lines).encode()
