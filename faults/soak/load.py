"""Clients that call a server for a long time, each with one kind of work, and record how long each call takes."""

import itertools
import smtplib
import threading
import time
import uuid
from contextlib import suppress

import botocore.exceptions

OCTETS = b"Subject: soak\r\n\r\n" + b"The quick brown fox jumps over the lazy dog 0123456789.\r\n" * 70
MESSAGES = 1_000
"""The number of messages after which a client connects again, because the server limits the messages of a session."""

AFTER_AN_ERROR = 0.2
"""The time, in seconds, after which a client tries again."""


class Client(threading.Thread):
    """Does one kind of work again and again, until it is stopped. Each subclass has the method `work`.

    An error of the server or the network is counted. While a fault is active, errors are expected.
    """

    kind = ""
    pause = 0.1
    """The time, in seconds, between two calls."""

    def __init__(self, place):
        super().__init__(name=self.kind, daemon=True)
        self.place = place
        self.durations = []
        """The end of each successful call, and how long it took, in seconds."""
        self.errors = []
        """The time of each error, and its text."""
        self.failure = None
        self._is_over = threading.Event()

    def run(self):
        try:
            while not self._is_over.wait(self.pause):
                began = time.monotonic()
                try:
                    self.work()
                except EXPECTED as error:
                    self.errors.append((time.monotonic(), f"{type(error).__name__}: {error}"))
                    self.restart()
                    self._is_over.wait(AFTER_AN_ERROR)
                else:
                    ended = time.monotonic()
                    self.durations.append((ended, ended - began))
        except BaseException as error:  # noqa: BLE001 - `end` raises it
            self.failure = error

    def restart(self):
        """Prepare for the next call after an error."""

    def end(self):
        self._is_over.set()
        self.join()
        if self.failure:
            raise self.failure


EXPECTED = (
    OSError,
    smtplib.SMTPException,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.EndpointConnectionError,
    botocore.exceptions.ClientError,
)


class Mail(Client):
    """Sends mail to an alias over one connection. The primary's mail stays in an inbox."""

    kind, pause, to = "accept a message", 0.05, "inbox"
    _smtp, _count = None, 0

    def work(self):
        if self._count == MESSAGES:
            self.restart()
        self._count += 1
        if self._smtp is None:
            self._smtp = smtplib.SMTP(*self.place.server.smtp, local_hostname="client.example", timeout=60)
        self._smtp.sendmail("ann@client.example", [self.place.aliases[self.to]], OCTETS)

    def restart(self):
        if self._smtp is not None:
            with suppress(OSError):
                self._smtp.close()
            self._smtp, self._count = None, 0


class RelayedMail(Mail):
    """Sends mail to an alias over a new connection each time. The primary has a route to another server."""

    kind, pause, to = "accept a message that is relayed", 0.1, "relayed"

    def work(self):
        super().work()
        self.restart()


class _Calls(Client):
    def __init__(self, place):
        super().__init__(place)
        self.connect = place.system.connect
        self.members = {"InstanceId": place.system.instance_id}


class Describe(_Calls):
    """Describes an email address."""

    kind, pause = "describe", 0.05

    def work(self):
        self.connect.describe_email_address(**self.members, EmailAddressId=self.place.described)


class Link(_Calls):
    """Associates two email addresses, and disassociates them the next time."""

    kind, pause = "associate or disassociate", 0.1
    _is_linked = False

    def work(self):
        primary, alias = self.place.pair
        wanted = not self._is_linked
        operation = "associate" if wanted else "disassociate"
        self._is_linked = wanted  # even after an error: the next call then makes both agree again
        getattr(self.connect, f"{operation}_email_address_alias")(
            **self.members, EmailAddressId=primary, AliasConfiguration={"EmailAddressId": alias}
        )


class Create(_Calls):
    """Creates an email address with tags, and deletes it."""

    kind, pause = "create and delete", 0.2
    _numbers = itertools.count(1)

    def work(self):
        made = self.connect.create_email_address(
            **self.members,
            EmailAddress=f"soak.{next(self._numbers)}@example.com",
            ClientToken=str(uuid.uuid4()),
            Tags={"kind": "soak"},
        )
        self.connect.delete_email_address(**self.members, EmailAddressId=made["EmailAddressId"])


class Read(Client):
    """Lists an inbox, and reads its newest message, which must have the bytes that were sent."""

    kind, pause = "list and read an inbox", 0.2

    def work(self):
        address = self.place.primaries["inbox"]
        listed = self._get("messages", address=address, limit=50)
        for one in listed.json()["messages"][:1]:
            answer = self._get(f"messages/{one['id']}/raw", address=address)
            # The retention rules may have removed the message meanwhile.
            assert answer.status == 404 or answer.body.endswith(OCTETS), answer

    def _get(self, path, **query):
        answer = self.place.system.get(path, **query)
        if answer.status not in {200, 404}:
            raise ConnectionError(f"{path}: {answer.status}")
        return answer


KINDS = (Mail, RelayedMail, Describe, Link, Create, Read)
