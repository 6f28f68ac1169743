"""Mail that a test has received, with its content and its trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from typing import TYPE_CHECKING, Any

from waypost.client.http import Connection, path_of
from waypost.mime import reading
from waypost.mime.message import MimeMessage

if TYPE_CHECKING:
    from waypost.app import inspection_schema as schema


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a message."""

    filename: str
    """The name of the file, without folders and characters that are not safe; empty if the message gives none."""
    content_type: str
    """The media type in lower case, such as `application/pdf`."""
    content: bytes = field(repr=False)
    """The content. A transfer encoding is decoded; an attached message is as it was sent."""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened to a message. The documentation of the inspection API lists the kinds of events."""

    kind: str
    """The kind, such as `accepted`, `delivered` or `deferred`."""
    at: datetime
    """When it happened, by the server's clock."""
    members: Mapping[str, Any]
    """The details, such as `address` and `because`."""
    text: str = field(repr=False)
    """The event in words."""

    def __str__(self) -> str:
        return self.text


class Trace(tuple[TraceEvent, ...]):
    """Everything that happened to a message, in chronological order."""

    __slots__ = ()

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events."""
        return [event.kind for event in self]

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def trace_of(connection: Connection, message_id: str) -> Trace:
    """Return the trace of a message. Raises `ServerRefused` if there is no such message."""
    from waypost.client import timeline  # noqa: PLC0415 - few tests look at a trace

    found: schema.MessageWithTrace = connection.get(f"messages/{path_of(message_id)}")
    return Trace(
        TraceEvent(
            kind=event["event"],
            at=datetime.fromisoformat(event["at"]),
            members={name: value for name, value in event.items() if name not in {"at", "event"}},
            text="\n".join(timeline.event_lines(event)),
        )
        for event in found["trace"]
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Mail:
    """One message for one email address.

    A message for two addresses, or for an alias and its primary, arrives as two objects with the same `id`. Two objects
    are equal if they are the same delivery. The content is read from the server when it is first used.
    """

    id: str
    """The id of the message, the same as in the server's `250` reply."""
    address: str
    """The email address that has the mail."""
    subject: str
    """The decoded subject."""
    sender: str
    """The envelope sender; empty for the null sender."""
    to: str
    """The recipient as the sender wrote it: the email address, or its alias."""
    reason: str
    """`direct`, `forwarded` (through an alias), `notice` or `returned`."""
    via: str | None
    """The alias through which the mail was forwarded; None if the address was addressed directly."""
    status: str
    """`delivered`, `queued` or `dead`, when this object was made."""
    received_at: datetime
    """When the server accepted the message, by the server's clock."""
    size: int
    """The size of the message in bytes, without the lines that Waypost adds."""
    delivery_id: str
    """The id of the delivery: the id of the message, a dot, and the id of the email address."""
    connection: Connection = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mail) and other.delivery_id == self.delivery_id

    def __hash__(self) -> int:
        return hash(self.delivery_id)

    @cached_property
    def raw(self) -> bytes:
        """The exact bytes that were delivered: Waypost's trace lines, and the bytes that the sender sent.

        Raises `ServerRefused` if no inbox has kept the mail, or if it was deleted.
        """
        return b"".join(self.connection.download(f"messages/{path_of(self.id)}/raw", address=self.address))

    @cached_property
    def message(self) -> EmailMessage:
        """The parsed message, for example for `mail.message["Reply-To"]`."""
        return message_from_bytes(self.raw, policy=policy.default)

    @cached_property
    def text(self) -> str:
        """The text that people read, as in the console: from the plain text or, where there is none, from the HTML. It
        has LF line ends, but none at its end; empty if there is no text.
        """
        return self._read.text.rstrip("\n")

    @cached_property
    def html(self) -> str:
        """The HTML as the sender wrote it, with LF line ends, without the line ends at its end; empty if there is
        none.
        """
        number = self._read.html_part
        if number is None:
            return ""
        html, _ = reading.html_of(reading.part(self.raw, number))
        return html.replace("\r\n", "\n").rstrip("\n")

    @cached_property
    def attachments(self) -> list[Attachment]:
        """The files in the message, in order: the parts that mail programs show as files, also without a name. A
        picture that the HTML shows is not a file.
        """
        return [
            Attachment(part.filename or "", part.content_type, reading.part(self.raw, part.number).octets)
            for part in self._read.parts
            if part.is_attachment
        ]

    @cached_property
    def _read(self) -> MimeMessage:
        return reading.read(self.raw)

    @property
    def trace(self) -> Trace:
        """Everything that happened to the message up to now."""
        return trace_of(self.connection, self.id)


def mail_of(connection: Connection, found: "schema.DeliveryInList") -> Mail:
    """Return the mail that the inspection API describes."""
    return Mail(
        id=found["id"],
        address=found["address"],
        subject=found["subject"],
        sender=found["from"],
        to=found["to"],
        reason=found["reason"],
        via=found["via"],
        status=found["status"],
        received_at=datetime.fromisoformat(found["received_at"]),
        size=found["size"],
        delivery_id=found["delivery"],
        connection=connection,
    )
