"""`waypost demo` demonstrates aliases and forwarding with a real server and real clients.

The demo prints each call in a form that a person could type. After each step, the demo prints the expected result and
checks it. The demo is therefore also a test of Waypost.
"""

import json
import shlex
import shutil
import signal
import smtplib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import click

from waypost import testing
from waypost.cli import client
from waypost.cli.commands import explain
from waypost.cli.commands import mail as mail_commands
from waypost.cli.parameters import Option

SUPPORT = "support@example.com"
QUEUE = "customer-service@example.com"
LEGACY = "helpdesk@example.com"


class StepFailed(Exception):
    """A check in the demo failed."""


def demo(
    once: Annotated[
        bool,
        Option(
            "--once", help="Exit when the demo ends. By default, the server keeps running if the output is a terminal."
        ),
    ] = False,
) -> None:
    """Demonstrate aliases and forwarding, step by step, with a real server and real clients."""
    raise click.exceptions.Exit(run_demo(stay=sys.stdout.isatty() and not once))


def run_demo(*, stay: bool) -> int:
    """Run the demo and return the exit code, which is 0 only if every check passed.

    If `stay` is true, the server keeps running after the last step, until Ctrl-C.
    """
    try:
        import boto3
    except ImportError:
        click.echo("waypost demo needs the AWS SDK: pip install boto3")
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # SystemExit stops the server and removes its data
    with testing.server() as server:
        story = Story(server, boto3.client("connect", **server.client_arguments))
        try:
            story.run()
        except Exception as error:  # noqa: BLE001 - any exception means that the demo failed
            click.secho(f"\nThe demo failed: {type(error).__name__}: {error}", fg="red", bold=True)
            return 1
        click.secho("\nEvery step succeeded.", fg="green", bold=True)
        click.echo(f"Next: {_start_command()}, then docs/tutorial.md.")
        if stay:
            story.stay()
    return 0


def _start_command() -> str:
    """Return the shell command that starts a permanent server.

    If `waypost` is not on the PATH, the shell command first activates the virtual environment that contains it.
    """
    activate = Path(sys.executable).with_name("activate")
    known = shutil.which("waypost") is not None or not activate.exists()
    if activate.is_relative_to(Path.cwd()):
        activate = activate.relative_to(Path.cwd())
    return "`waypost serve`" if known else f"`source {shlex.quote(str(activate))}; waypost serve`"


class Story:
    """The steps of the demo. The steps create email addresses, make one an alias of another, send mail, show that
    Waypost refuses an alias of an alias, and send mail again after the alias has been removed.
    """

    def __init__(self, server: testing.Server, connect: Any) -> None:
        self._server = server
        self._connect = connect
        self._data = str(server.data)
        self._client = client.Client(self._data)
        self._instance_id = connect.list_instances()["InstanceSummaryList"][0]["Id"]

    def run(self) -> None:
        """Run all steps. Raises `StepFailed` if a check fails, or an exception from boto3, `smtplib` or `cli.client` if
        a request fails.
        """
        self._set_up()
        queue = self._create(QUEUE)
        support = self._create(SUPPORT)
        self._associate(queue, support)
        self._send("My order has not arrived")
        self._inbox(SUPPORT, [("My order has not arrived", "direct")])
        self._inbox(QUEUE, [("My order has not arrived", "forwarded")])
        self._explain(SUPPORT)
        self._refused_chain(support)
        self._disassociate(queue, support)
        self._send("It is here now, thank you")
        self._inbox(SUPPORT, [("It is here now, thank you", "direct"), ("My order has not arrived", "direct")])
        self._inbox(QUEUE, [("My order has not arrived", "forwarded")])

    def stay(self) -> None:
        """Keep the server running until Ctrl-C, and print commands that use it."""
        data = shlex.quote(self._data)
        waypost = shlex.quote(str(Path(sys.executable).with_name("waypost")))
        aws = shutil.which("aws", path=str(Path(sys.executable).parent))
        self._result("The server keeps running. In another terminal, you can try:")
        self._result(f"{waypost} inbox {SUPPORT} --data {data}")
        self._result(f"{waypost} explain {QUEUE} --data {data}")
        if aws:
            self._result(f'eval "$({waypost} env --data {data})" && {shlex.quote(aws)} connect list-instances')
        self._result("Ctrl-C stops the server and removes its data.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            click.echo("Bye.")

    def _set_up(self) -> None:
        arguments = {**self._server.client_arguments, "aws_secret_access_key": "…"}
        typed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        host, port = self._server.smtp
        self._title("Start a server, and configure an unmodified AWS SDK to use it")
        self._typed(f"connect = boto3.client('connect', {typed})")
        self._typed(f"instance = {self._instance_id!r}")
        self._typed(f"mail = smtplib.SMTP({host!r}, {port}); mail.ehlo()")

    def _create(self, address: str) -> str:
        self._title(f"Create the email address {address}")
        self._typed(f"connect.create_email_address(InstanceId=instance, EmailAddress={address!r})")
        answer = self._connect.create_email_address(InstanceId=self._instance_id, EmailAddress=address)
        self._result(answer["EmailAddressArn"])
        return str(answer["EmailAddressId"])

    def _associate(self, primary: str, alias: str) -> None:
        self._title(f"Make {SUPPORT} an alias: its mail is forwarded to {QUEUE}")
        self._change_link("associate_email_address_alias", primary, alias)
        described = self._connect.describe_email_address(InstanceId=self._instance_id, EmailAddressId=primary)
        self._typed(f"connect.describe_email_address(InstanceId=instance, EmailAddressId={primary!r})")
        self._result(json.dumps({"AliasConfigurations": described["AliasConfigurations"]}))
        self._check(described["AliasConfigurations"] == [{"EmailAddressId": alias}], "the primary lists its alias")

    def _refused_chain(self, support: str) -> None:
        self._title(f"Aliases cannot be chained: {LEGACY} may not become an alias of {SUPPORT}")
        legacy = self._create(LEGACY)
        with self._refused(self._connect.exceptions.ResourceConflictException):
            self._change_link("associate_email_address_alias", support, legacy)

    def _disassociate(self, primary: str, alias: str) -> None:
        self._title("End the alias. Mail that has already arrived stays in its inbox")
        self._change_link("disassociate_email_address_alias", primary, alias)

    def _change_link(self, operation: str, primary: str, alias: str) -> None:
        self._typed(
            f"connect.{operation}(InstanceId=instance, EmailAddressId={primary!r}, "
            f"AliasConfiguration={{'EmailAddressId': {alias!r}}})"
        )
        call = getattr(self._connect, operation)
        call(InstanceId=self._instance_id, EmailAddressId=primary, AliasConfiguration={"EmailAddressId": alias})

    def _send(self, subject: str) -> None:
        message = f"From: Ann <ann@example.org>\r\nTo: {SUPPORT}\r\nSubject: {subject}\r\n\r\nHello!\r\n"
        self._title(f"A customer writes to {SUPPORT}")
        self._typed(f"mail.mail('ann@example.org'); mail.rcpt({SUPPORT!r}); mail.data({message!r})")
        with smtplib.SMTP(*self._server.smtp) as mail:
            mail.ehlo()
            mail.mail("ann@example.org")
            mail.rcpt(SUPPORT)
            code, reply = mail.data(message)
        self._result(f"{code} {reply.decode()}")
        self._check(code == 250, "the server accepted the message, so it is on disk")

    def _inbox(self, address: str, expected: list[tuple[str, str]]) -> None:
        self._title(f"The inbox of {address}")
        self._typed(f"$ waypost inbox {address} --data {self._data}")
        mail_commands.inbox(address, data=self._data)
        found = self._client.get("messages", address=address)["messages"]
        self._check(
            [(message["subject"], message["reason"]) for message in found] == expected,
            f"the inbox has {len(expected)} message{'s, newest first' if len(expected) > 1 else ''}",
        )

    def _explain(self, address: str) -> None:
        self._title(f"Explain what would happen to the next message for {address}")
        self._typed(f"$ waypost explain {address} --data {self._data}")
        explain.explain(address, data=self._data)
        explanation = self._client.get("explain", address=address)
        self._check(len(explanation["deliveries"]) == 2, "one copy stays in the inbox, and one is forwarded")

    @contextmanager
    def _refused(self, kind: type[Exception]) -> Iterator[None]:
        try:
            yield
        except kind as refusal:
            self._result(str(refusal))
            self._check(True, "the server refused the call, and the message gives the reason")
        else:
            raise StepFailed("the server did not refuse the call")

    def _title(self, text: str) -> None:
        click.secho(f"\n{text}", bold=True)

    def _typed(self, text: str) -> None:
        prompt = "" if text.startswith("$") else ">>> "
        click.secho(f"  {prompt}{text}", fg="cyan")

    def _result(self, text: str) -> None:
        click.echo(f"  {text}")

    def _check(self, succeeded: bool, expected: str) -> None:
        if not succeeded:
            raise StepFailed(f"expected: {expected}")
        click.echo(f"  {click.style('✓', fg='green')} {expected}")
