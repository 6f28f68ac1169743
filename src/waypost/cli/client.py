"""The commands that ask a running server: `waypost env`, `inbox`, `show`, `explain`."""

import base64
import json
import os
import shlex
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.datadir import DataDirectory
from waypost.settings import Settings, environment_name

Data = Annotated[
    str, typer.Option("--data", help="The data directory of the running server.", envvar=environment_name("data"))
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An email address, such as support@example.com.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_DEFAULT_DATA = Settings().data


class ServerRefused(Exception):
    """The server said no, or could not be asked. The message says what it said."""


def env(data: Data = _DEFAULT_DATA, as_json: Json = False) -> None:
    """Print what points SDK, AWS CLI and mail client at the running server: eval "$(waypost env)"."""
    server = Client(data)
    variables = {
        "AWS_ENDPOINT_URL_CONNECT": f"http://{server.run.http}",
        "AWS_ACCESS_KEY_ID": server.key.id,
        "AWS_SECRET_ACCESS_KEY": server.key.secret,
        "AWS_REGION": server.region,
        "AWS_DEFAULT_REGION": server.region,
        "WAYPOST_INSTANCE_ID": server.get("instance", region=server.region)["id"] or "",
        "WAYPOST_SMTP": server.run.smtp,
        "WAYPOST_HTTP": server.run.http,
    }
    also = {
        "WAYPOST_SMTPS": server.run.smtps,
        "WAYPOST_LMTP": server.run.lmtp,
        "WAYPOST_CERTIFICATE": server.run.certificate,
    }
    variables |= {name: address for name, address in also.items() if address}
    if as_json:
        typer.echo(json.dumps(variables, indent=2))
        return
    if os.environ.get("AWS_SESSION_TOKEN"):
        typer.echo("unset AWS_SESSION_TOKEN")  # of other credentials, with which SDKs would sign
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def inbox(
    address: Address,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 50,
    data: Data = _DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """List the mail that an address has, newest first."""
    found = Client(data).get("messages", address=address, limit=limit)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found["messages"]:
        typer.echo(f"No mail for {address} yet.")
    for message in found["messages"]:
        typer.echo(f"{message['id']}  {message['received_at']}  {message['size']} octets  {_how(message)}")
        typer.echo(f"    from <{message['from']}>: {message['subject'] or '(no subject)'}")


def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id in the 250 reply, or from the inbox.")],
    data: Data = _DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show one message: where it went, and everything that happened to it."""
    message = Client(data).get(f"messages/{urllib.parse.quote(message_id, safe='')}")
    if as_json:
        typer.echo(json.dumps(message, indent=2))
        return
    typer.echo(f"Message {message['id']}, {message['size']} octets, received {message['received_at']}")
    typer.echo(f"  from <{message['from']}>: {message['subject'] or '(no subject)'}")
    for delivery in message["deliveries"]:
        typer.echo(f"  {delivery['status']} to {delivery['address']} ({_how(delivery)})")
    typer.echo("Trace:")
    for event in message["trace"]:
        details = {name: value for name, value in event.items() if name not in ("at", "event")}
        told = details.pop("because", "") or ", ".join(f"{name} {value}" for name, value in details.items())
        typer.echo(f"  {event['at']}  {event['event']}: {told}")


def explain(
    address: Address,
    data: Data = _DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Say what would happen to mail for an address, and why. Nothing is sent."""
    found = Client(data).get("explain", address=address)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if found["accepted"]:
        typer.echo(f"Mail for {found['address']} would be accepted.")
    for delivery in found["deliveries"]:
        typer.echo(f"  {_how(delivery)} -> {delivery['address']}")
    for sentence in found["because"]:
        typer.echo(f"  {sentence}")


def _how(delivery: Any) -> str:
    """How a delivery came to be, in a word or two."""
    return f"{delivery['reason']} through {delivery['via']}" if delivery["via"] else str(delivery["reason"])


class Client:
    """The server that runs on a data directory, asked with its own access key."""

    def __init__(self, data: str) -> None:
        directory = DataDirectory(Path(data))
        self.run = directory.running()
        self._credentials = directory.credentials
        profile = directory.profiles()[0]
        self.key, self.region = profile.key, profile.region

    def get(self, path: str, **query: str | int) -> Any:
        """Ask the inspection API. Raises `ServerRefused`."""
        url = f"http://{self.run.http}/_waypost/{path}?{urllib.parse.urlencode(query)}"
        shown = base64.b64encode(f"{self.key.id}:{self.key.secret}".encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {shown}"})
        # No proxy: a proxy from the environment would be asked for our loopback address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                raise ServerRefused(
                    f"The access key in {self._credentials} is not active any more. Remove that file and start Waypost "
                    "again: it puts another one there."
                ) from error
            raise ServerRefused(_reason(error)) from error
        except OSError as error:
            raise ServerRefused(
                f"The server at {self.run.http} does not answer. Was it killed? Start it again: waypost serve"
            ) from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return f"The server answered {error.code} {error.reason}."
