"""A server for tests of other software, with everything that a test does with it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from waypost.client.connect import CallFailed, Connect
from waypost.client.http import SECONDS, Connection
from waypost.testing import sending, settings, waiting
from waypost.testing.mail import Mail, Trace, trace_of
from waypost.testing.process import Server
from waypost.testing.resources import (
    AddedFaultRule,
    AddedRoute,
    AliasLink,
    DeadLetter,
    EmailAddress,
    MailClock,
    dead_letters,
)

if TYPE_CHECKING:
    from typing import Self

    from waypost.app import inspection_schema as schema
    from waypost.testing.waiting import Pattern

DOMAIN = "example.com"
"""The domain of email addresses for which a test gives no domain."""

TIMEOUT = 10.0
"""The time, in seconds, for which `wait_for` waits by default."""


class Waypost:
    """A server in a process of its own, on free ports, with a temporary data directory and a virtual clock.

    As a context manager, it starts the server, and stops it and removes its data at the end. The server also ends, and
    removes its data, if the process of the test ends in any other way.
    """

    def __init__(self, *, log: str | Path | None = None, **given: Any) -> None:
        """Prepare a server without starting it.

        `log` is the file to which the server's log is added; by default, it is removed with the data. All other
        arguments are settings of `waypost serve`, such as `limits="aws"`, and tables of the settings file, such as
        `delivery={"expire": "1d"}`. Raises `TypeError` for a value of the wrong type, and for settings that the kit
        chooses itself.
        """
        self.settings: Mapping[str, Any] = settings.given(given)
        self._log = Path(log) if log else None
        self._directory: Path | None = None
        self._server: Server | None = None
        self._process = os.getpid()
        """The id of the process that has started the server."""
        self._clients: dict[str, Any] = {}
        self._session: Any = None

    # The server

    def start(self) -> "Self":
        """Start the server, and wait until it is ready. Raises `ServerDied`, with the server's log."""
        if self._server:
            raise RuntimeError("The server was started already.")
        self._process = os.getpid()
        self._directory = Path(tempfile.mkdtemp(prefix="waypost-"))
        try:
            options = settings.options(self.settings)
            if text := settings.file_text(self.settings):
                file = self._directory / "waypost.toml"
                file.write_text(text, encoding="utf-8")
                options += ["--config", str(file)]
            server = Server(self._directory / "data", *options, temporary=self._directory)
            server.log = self._log or server.log
            server.start()
            self._use(server, when_unreachable=f" Its log is {server.log}.")
        except BaseException:
            self.discard()
            raise
        return self

    def _use(self, server: Server, *, when_unreachable: str) -> None:
        """Use a server that was started. `when_unreachable` ends the error message if it does not answer."""
        self._server = server
        key, http = server.profile.key, server.run.http
        self.connection = Connection(http, key_id=key.id, secret=key.secret, when_unreachable=when_unreachable)
        """A client for the inspection API."""
        self._connect = Connect(
            http,
            key_id=key.id,
            secret=key.secret,
            region=server.profile.region,
            when_unreachable=when_unreachable,
        )
        self.instance_id: str = self.connection.get("instance", region=server.profile.region)["id"]
        """The id of the instance in which the kit makes email addresses."""

    def stop(self) -> None:
        """Stop the server, and remove its data. Do nothing if the server was not started."""
        for client in self._clients.values():
            client.close()
        self._end(lambda server: server.stop())

    def discard(self) -> None:
        """Remove the data of a server that has ended unexpectedly, or end it at once if it does not answer."""
        self._end(lambda server: server.kill())

    def _end(self, end: Callable[[Server], object]) -> None:
        """End the server with `end`, and remove its data. A forked process leaves both to its parent."""
        server, self._server = self._server, None
        directory, self._directory = self._directory, None
        self._clients, self._session = {}, None
        if self._process != os.getpid():
            return
        try:
            if server:
                end(server)
        finally:
            if directory:
                shutil.rmtree(directory, ignore_errors=True)

    def __enter__(self) -> "Self":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def server(self) -> Server:
        """The server process. Raises `RuntimeError` if it was not started."""
        if self._server is None:
            raise RuntimeError("The server was not started. Use `with Waypost() as waypost:`, or call `start`.")
        return self._server

    @property
    def is_running(self) -> bool:
        """Whether the server was started, and answers."""
        return self._server is not None and waiting.is_alive(self.connection)

    @property
    def url(self) -> str:
        """The URL of the Amazon Connect API, for use as `endpoint_url`."""
        return self.server.url

    @property
    def smtp(self) -> tuple[str, int]:
        """The host and port for mail, for use as `smtplib.SMTP(*waypost.smtp)`."""
        return self.server.smtp

    @property
    def log(self) -> Path:
        """The file with the server's log."""
        return self.server.log

    def reset(self) -> None:
        """Delete everything that was made since the start: mail, refusals, email addresses, links, client tokens,
        routes, instances and access keys. Rates begin anew, and the mail clock shows the real time again.

        Routes in the settings stay. Raises `ServerRefused` unless the server was started for tests, and `NoServer` if
        the server does not answer within 30 seconds.
        """
        self.instance_id = self.connection.post("reset", {}, seconds=SECONDS)["instance"]

    # AWS SDKs

    @property
    def session(self) -> Any:
        """A `boto3.Session` with the server's access key and region, whose Connect clients use the server."""
        if self._session is None:
            from waypost.testing import aws  # noqa: PLC0415 - boto3 is large, and optional

            self._session = aws.session(self.server)
        return self._session

    def client(self, service: str = "connect", **options: Any) -> Any:
        """Return a boto3 client. Without `options`, each call for a service returns the same client.

        A client for `connect` uses the server. Clients for other services use the endpoints of AWS, as the mocks of
        moto need. Raises `ImportError` if boto3 is not installed.
        """
        if options:
            return self.session.client(service, **options)
        if service not in self._clients:
            self._clients[service] = self.session.client(service)
        return self._clients[service]

    @property
    def variables(self) -> dict[str, str | None]:
        """The environment variables with which AWS SDKs and the AWS CLI use the server. A variable whose value is None
        must be unset.
        """
        from waypost.testing import environment  # noqa: PLC0415 - few tests need it

        return environment.variables(self.server, self.instance_id)

    @contextmanager
    def environment(self) -> Iterator[None]:
        """In the `with` block, boto3 and the AWS CLI use the server, because `os.environ` says so.

        Clients that were made before do not use it. The previous environment is restored at the end.
        """
        from waypost.testing import environment  # noqa: PLC0415 - few tests need it

        with environment.patched(self.server, self.variables):
            yield

    # Mail

    def send(
        self,
        message: sending.Source | None = None,
        *,
        to: str | Iterable[str] = (),
        sender: str | None = None,
        subject: str = "",
        text: str = "",
        html: str = "",
        attachments: sending.Files = (),
        headers: Mapping[str, str] | None = None,
    ) -> sending.Sent:
        """Send mail to the server by SMTP. When this method returns, the mail can be read.

        Either give `message`: an `EmailMessage`, bytes, or the path of a file; its sender and recipients are those in
        its header, unless `sender` and `to` are given. Or give the parts of a message. `attachments` are the contents
        of files by their names, or the paths of files; `headers` are further header fields. Without a sender, the
        sender is ann@example.org. An empty `sender` is the null sender.

        Raises the exceptions of `smtplib`, such as `smtplib.SMTPRecipientsRefused`, if the server refuses the mail, and
        `TypeError` if there is no recipient.
        """
        recipients = [to] if isinstance(to, str) else list(to)
        if message is None:
            author = sending.SENDER if sender is None else sender
            message = sending.composed(
                sender=author,
                to=recipients,
                subject=subject,
                text=text,
                html=html,
                attachments=attachments,
                headers=headers or {},
            )
            sender = author
        elif subject or text or html or attachments or headers:
            raise TypeError("Give either a message, or the parts of one.")
        return sending.send(self.smtp, message, sender=sender, to=recipients)

    def inbox(self, address: str) -> list[Mail]:
        """Return the mail in the inbox of an email address, the oldest first. Raises `ServerRefused` if there is no
        such email address.
        """
        return waiting.listed(self.connection, address=str(address))

    def mail(self) -> list[Mail]:
        """Return all mail, the oldest first: one object for each message and email address, also if the mail was sent
        over a route and no inbox has kept it.
        """
        return waiting.listed(self.connection)

    def wait_for(
        self,
        predicate: Callable[[Mail], bool] | None = None,
        *,
        timeout: float = TIMEOUT,
        address: "Pattern | None" = None,
        to: "Pattern | None" = None,
        sender: "Pattern | None" = None,
        subject: "Pattern | None" = None,
        text: "Pattern | None" = None,
        html: "Pattern | None" = None,
        reason: "Pattern | None" = None,
        via: "Pattern | None" = None,
        status: "Pattern | None" = None,
    ) -> Mail:
        """Return the oldest mail that matches, as soon as it is there. It may have arrived already.

        A string must be equal to the attribute of `Mail`, except that `text` and `html` must contain it; the case of
        email addresses is ignored. A compiled regular expression must match somewhere. `predicate` gets the mail that
        matches all keywords. Raises `NoSuchMail`, an `AssertionError`, if no such mail arrives within `timeout`
        seconds.
        """
        given = {
            "address": address,
            "to": to,
            "sender": sender,
            "subject": subject,
            "text": text,
            "html": html,
            "reason": reason,
            "via": via,
            "status": status,
        }
        members = {name: value for name, value in given.items() if value is not None}
        if predicate is None and not members:
            raise TypeError("Say what to wait for, as a predicate or as keywords such as subject='Hello'.")
        return waiting.wait_for(self.connection, waiting.Wanted(predicate, members), timeout=timeout)

    def trace(self, message: "str | Mail | sending.Sent") -> Trace:
        """Return everything that happened to a message, which is given as an object or by its id."""
        return trace_of(self.connection, message if isinstance(message, str) else message.id)

    def refusals(self) -> "list[schema.Refusal]":
        """Return what the server has refused, the newest first, as in the inspection API: at most 500 recipients and
        messages.
        """
        found: list[schema.Refusal] = self.connection.get("refusals", limit=waiting.PAGE)["refusals"]
        return found

    def dead_letters(self, address: str | None = None) -> list[DeadLetter]:
        """Return the deliveries that were given up, all or those of an email address."""
        return list(dead_letters(self.connection, None if address is None else str(address)))

    @property
    def clock(self) -> MailClock:
        """The clock for mail."""
        return MailClock(self.connection)

    # Email addresses and routes

    def address(self, name: str = "inbox", *, domain: str = DOMAIN, **members: Any) -> EmailAddress:
        """Make an email address. It is removed by `reset`, or at the end of a `with` block.

        With an `@` in `name`, the address is exactly this one; if it exists already, the function returns it.
        Otherwise, the address is unique, begins with `name`, and is in `domain`. `members` are further members of
        CreateEmailAddress, such as `DisplayName="Support"`. Raises `CallFailed` if the server refuses the address.
        """
        text = str(name) if "@" in name else f"{name}-{os.urandom(4).hex()}@{domain}"
        try:
            made = self._connect.call("CreateEmailAddress", InstanceId=self.instance_id, EmailAddress=text, **members)
        except CallFailed as error:
            made = self._existing(text) if error.code == "DuplicateResourceException" else {}
            if not made:
                raise
        return EmailAddress.made(
            text,
            email_address_id=made["EmailAddressId"],
            arn=made["EmailAddressArn"],
            instance_id=self.instance_id,
            connect=self._connect,
            connection=self.connection,
        )

    def _existing(self, text: str) -> dict[str, Any]:
        """Return the email address of the kit's instance that is this string, in upper or lower case; empty if there is
        none.
        """
        condition = {"FieldName": "emailAddress", "ComparisonType": "EXACT", "Value": text}
        found = self._connect.call(
            "SearchEmailAddresses", InstanceId=self.instance_id, SearchCriteria={"StringCondition": condition}
        )
        return next(iter(found["EmailAddresses"]), {})

    def alias(self, *, primary: str, alias: str) -> AliasLink:
        """Make an email address the alias of another, so that mail for the alias also arrives at the primary.

        Each of the two is an `EmailAddress`, or a name from which `address` makes one. Raises `CallFailed` if the
        server refuses the link.
        """
        of_primary, of_alias = map(self._side, (primary, alias))
        self._connect.call(
            "AssociateEmailAddressAlias",
            InstanceId=self.instance_id,
            EmailAddressId=of_primary.id,
            AliasConfiguration={"EmailAddressId": of_alias.id},
        )
        return AliasLink(of_primary, of_alias, self._connect)

    def _side(self, given: str) -> EmailAddress:
        return given if isinstance(given, EmailAddress) else self.address(given)

    def route(self, match: str, to: str, **options: Any) -> AddedRoute:
        """Add a route for mail that arrives from now on, after all other routes. It is removed by `reset`, or at the
        end of a `with` block.

        `match` is an email address, `*@example.com` or `*`. `to` is a destination such as `smtp://127.0.0.1:2525`, and
        `options` are the other keys of a route in the settings file, such as `keep=True`, `secret`, and `fault`. A
        `fault` is `tempfail`, `permfail`, `slow` or `drop-after-data`. The server does not check that the destination
        can be reached. Raises `ServerRefused`.
        """
        added = self.connection.post("routes", {"match": str(match), "to": to, **options})
        return AddedRoute(str(match), to, added["log_name"], self.connection)

    def fault(self, stage: str, action: str, **options: Any) -> AddedFaultRule:
        """Add a fault rule for mail that is sent to the server, before all other rules. It is removed by `reset`, or at
        the end of a `with` block.

        `stage` is `connect`, `mail`, `rcpt`, `data` or `message`, and `action` is `refuse`, `defer`, `delay`, `drop` or
        `cut`. `options` are the other keys of a `[[fault]]` table in the settings file, such as
        `fault("rcpt", "defer", recipient="busy@example.com", times=2)`. Raises `ServerRefused`.
        """
        added = self.connection.post("faults", {"stage": stage, "action": action, **options})
        return AddedFaultRule(added["id"], self.connection)
