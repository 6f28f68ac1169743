"""The state of a database at the end of a run, as Waypost's own reads return it."""

from dataclasses import dataclass

from faults.simulation.history import token
from tests.kit.values import TENANT, NoSeal
from waypost.app import ports
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.messages import Message
from waypost.domain.mail.trace_events import TraceEvent
from waypost.store.sqlite.transaction import SqliteTransaction

ALL = 1_000_000


@dataclass(frozen=True)
class Stored:
    """A message in the database."""

    message: Message
    raw: bytes
    deliveries: tuple[Delivery, ...]
    trace: tuple[TraceEvent, ...]

    @property
    def token(self):
        """The name of the message. Its bytes are deleted after its last delivery if no inbox keeps it; its subject
        remains.
        """
        return token(self.raw) if self.raw else self.message.subject


@dataclass(frozen=True)
class Observed:
    """Everything that the model looks at."""

    messages: dict[str, Stored]
    """The messages by their ids."""
    inboxes: dict[str, list[str]]
    """The ids of the messages in the inbox of each address, in the order of its list, oldest first."""
    links: list[tuple[str, str, str]]
    """The ends of all alias links: an email address, its side, and the email address at the other end."""
    email_addresses: dict[str, str]
    """The addresses by the ids of the email addresses."""
    queued: set[str]
    """The ids of the queued deliveries."""
    left: dict[str, int]
    """The number of rows of work that is not done."""
    unchecked: list[str]
    """The messages that have bytes without a checksum."""


def observe(connection):
    """Return the state of an SQLite database on this connection."""
    return observe_in(SqliteTransaction(connection, NoSeal()))


def _octets(tx, message_id):
    """Return the bytes of a message; none if they are damaged."""
    try:
        return tx.octets(message_id, start=0, limit=ALL)
    except ports.Damaged:
        return b""


def observe_in(tx):
    """Return the state that a transaction sees."""

    def rows(query):
        return [tuple(row) for row in tx.connection.execute(query).fetchall()]

    messages = {}
    for (message_id,) in rows("SELECT id FROM messages"):
        (message,) = tx.messages_between(message_id, message_id, limit=1)
        messages[message_id] = Stored(
            message,
            _octets(tx, message_id),
            tuple(tx.deliveries_of(TENANT.account, message_id)),
            tuple(tx.trace(message_id)),
        )
    keys = {delivery.address.key for stored in messages.values() for delivery in stored.deliveries}
    return Observed(
        messages=messages,
        inboxes={
            key: [message.id for _, message in tx.deliveries_at(TENANT.account, key, after=None, limit=ALL)][::-1]
            for key in sorted(keys)
        },
        links=rows("SELECT email_address_id, side, other_id FROM alias_link_ends"),
        email_addresses=dict(rows("SELECT id, address_key FROM email_addresses")),
        queued={f"{message}.{address}" for message, address in rows("SELECT message_id, email_address_id FROM queue")},
        left={
            table: rows(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("queue", "notices_owed", "planned_deliveries")
        },
        unchecked=[one for (one,) in rows("SELECT DISTINCT message_id FROM message_bodies WHERE checksum IS NULL")],
    )
