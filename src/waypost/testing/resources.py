"""What a test makes on its server: email addresses, alias links and routes; and the mail clock and dead letters."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from waypost.client.connect import CallFailed, Connect
from waypost.client.http import Conflict, Connection, NotThere, path_of
from waypost.testing import settings
from waypost.testing.mail import Mail
from waypost.testing.waiting import listed

if TYPE_CHECKING:
    from typing import Self

    from waypost.app import inspection_schema as schema

_MISSING = "ResourceNotFoundException"


class _Removable:
    """Something that a `with` block removes at its end."""

    def remove(self) -> None:
        """Remove it from the server, unless it was removed already."""
        raise NotImplementedError

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


class EmailAddress(str, _Removable):
    """An email address of the server, which can be used like the string. As a context manager, it removes the email
    address at the end, with its alias link; its mail stays.
    """

    __slots__ = ("_connect", "_connection", "arn", "id", "instance_id")

    id: str
    """The `EmailAddressId`."""
    arn: str
    """The `EmailAddressArn`."""
    instance_id: str
    """The id of the instance that has the email address."""
    _connect: Connect
    _connection: Connection

    @classmethod
    def made(
        cls, text: str, *, email_address_id: str, arn: str, instance_id: str, connect: Connect, connection: Connection
    ) -> "EmailAddress":
        """Return the object for an email address."""
        made = cls(text)
        made.id, made.arn, made.instance_id = email_address_id, arn, instance_id
        made._connect, made._connection = connect, connection
        return made

    def inbox(self) -> list[Mail]:
        """Return the mail in the inbox, the oldest first."""
        return listed(self._connection, address=str(self))

    def remove(self) -> None:
        """Remove the email address, unless it was removed already."""
        _call_unless_missing(self._connect, "DeleteEmailAddress", InstanceId=self.instance_id, EmailAddressId=self.id)


@dataclass(frozen=True)
class AliasLink(_Removable):
    """An alias link. As a context manager, it removes the link at the end, but not the email addresses."""

    primary: EmailAddress
    """The email address at which mail for the alias arrives too."""
    alias: EmailAddress
    """The email address whose mail is forwarded."""
    connect: Connect = field(repr=False)

    def remove(self) -> None:
        """Remove the link, unless it was removed already."""
        _call_unless_missing(
            self.connect,
            "DisassociateEmailAddressAlias",
            InstanceId=self.primary.instance_id,
            EmailAddressId=self.primary.id,
            AliasConfiguration={"EmailAddressId": self.alias.id},
        )


@dataclass(frozen=True)
class AddedRoute(_Removable):
    """A route. As a context manager, it removes the route at the end."""

    match: str
    """The mail that the route is for."""
    to: str
    """The destination."""
    name: str
    """The name of the route in the server's log."""
    connection: Connection = field(repr=False)

    def remove(self) -> None:
        """Remove the route, unless it was removed already. Mail that waits for it takes the next route that matches, or
        goes to the inbox.
        """
        while (number := self._number()) is not None:
            with suppress(NotThere, Conflict):  # another thread has just changed the numbers of the routes
                self.connection.delete(f"routes/{number}", name=self.name)

    def _number(self) -> int | None:
        """Return the number that the route has now; None if it was removed."""
        routes = self.connection.get("routes")["routes"]
        return next((route["number"] for route in routes if route["number"] and route["log_name"] == self.name), None)


@dataclass(frozen=True)
class AddedFaultRule(_Removable):
    """A fault rule. As a context manager, it removes the rule at the end."""

    id: str
    """The id of the rule, as in the trace."""
    connection: Connection = field(repr=False)

    def remove(self) -> None:
        """Remove the rule, unless it was removed already."""
        with suppress(NotThere):
            self.connection.delete(f"faults/{path_of(self.id)}")


@dataclass(frozen=True)
class DeadLetter:
    """A delivery that was given up."""

    id: str
    """The id of the delivery."""
    message_id: str
    """The id of the message, for example for `waypost.trace(letter.message_id)`."""
    address: str
    """The email address that the delivery is for."""
    to: str
    """The recipient as the sender wrote it."""
    sender: str
    """The envelope sender."""
    subject: str
    """The decoded subject."""
    because: str
    """Why the delivery was given up."""
    destination: str
    """The destination of the route."""
    connection: Connection = field(repr=False)

    def redrive(self) -> None:
        """Put the delivery into the queue again. Raises `ServerRefused` if it is not a dead letter any more."""
        self.connection.post("dead-letters/redrive", {"ids": [self.id]})


def dead_letters(connection: Connection, address: str | None) -> Iterator[DeadLetter]:
    """Yield all dead letters, or those of an email address, sorted by the time at which their messages arrived."""
    after = None
    while page := connection.get("dead-letters", address=address, after=after, limit=500)["dead_letters"]:
        yield from (_dead_letter(connection, each) for each in page)
        after = page[-1]["id"]


def _dead_letter(connection: Connection, found: "schema.DeadLetter") -> DeadLetter:
    return DeadLetter(
        id=found["id"],
        message_id=found["message"],
        address=found["address"],
        to=found["to"],
        sender=found["from"],
        subject=found["subject"],
        because=found["because"] or "",
        destination=found["destination"],
        connection=connection,
    )


class MailClock:
    """The server's clock for mail. It runs at normal speed, and a test can move it forward.

    Signatures of API calls always use the real time.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def now(self) -> datetime:
        """The time."""
        return datetime.fromisoformat(self._connection.get("clock")["now"])

    def advance(self, by: str | timedelta) -> datetime:
        """Move the clock forward, and return the new time. `by` is a duration such as `5d`, `12h`, `30m` or `90s`, or a
        `timedelta` of whole seconds.

        When this method returns, everything that became due in between has happened, in order, each at its time.
        Raises `ValueError` for a `timedelta` with a part of a second.
        """
        duration = settings.duration(by) if isinstance(by, timedelta) else by
        return datetime.fromisoformat(self._connection.post("clock/advance", {"by": duration})["now"])

    def __str__(self) -> str:
        return self.now.isoformat()


def _call_unless_missing(connect: Connect, operation: str, **members: Any) -> None:
    try:
        connect.call(operation, **members)
    except CallFailed as error:
        if error.code != _MISSING:
            raise
