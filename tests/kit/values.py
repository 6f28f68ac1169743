"""Functions that create objects of the domain for tests of rules and stores."""

import sqlite3
import uuid
from datetime import UTC, datetime, timedelta

from waypost.api.operations.calls import Terms
from waypost.api.operations.page_tokens import PageTokens
from waypost.app.directory import instances
from waypost.domain.directory import addresses
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.mail import trace_events
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Envelope, Message
from waypost.domain.mail.trace_events import TraceEvent
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite.transaction import SqliteTransaction

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TENANT = Tenant("000000000000", "us-east-1")
TERMS = Terms(
    new_id=lambda: str(uuid.uuid4()),
    page_tokens=PageTokens(b"k" * 32),
    token_retention=timedelta(days=7),
    email_address_quota=None,
)


def make_instance(tx, instance_id="i", tenant=TENANT, alias=None):
    instance = Instance(
        id=instance_id,
        tenant=tenant,
        alias=alias,
        identity_management_type="SAML",
        directory_id=None,
        inbound_calls_enabled=True,
        outbound_calls_enabled=False,
        created_at=NOW,
    )
    instances.create(tx, instance, tags={})
    return instance


def an_email_address(name, instance_id="i", account=TENANT.account):
    return EmailAddress(
        id=name,
        instance_id=instance_id,
        account=account,
        address=addresses.parse(f"{name}@example.com"),
        display_name=None,
        description=None,
        created_at=NOW,
        modified_at=NOW,
    )


def a_message(message_id="m1", **fields):
    envelope = Envelope(
        sender="ann@example.org",
        recipients=("x@example.com",),
        helo="client",
        peer="192.0.2.1",
        protocol="ESMTP",
    )
    given = {"id": message_id, "envelope": envelope, "received_at": NOW, "size": 2, "subject": "Hello"}
    return Message(**given | fields)


def a_delivery(name="x", message_id="m1", *, to="smtp://mail.example.net:25", **fields):
    """Return a delivery that waits for a destination."""
    address = addresses.parse(f"{name}@example.com")
    given = {
        "message_id": message_id,
        "email_address_id": name,
        "account": TENANT.account,
        "address": address,
        "reason": Reason.DIRECT,
        "sent_to": address.text,
        "via": None,
        "status": Status.QUEUED,
        "trace_header": b"Received: here\r\n",
        "kept": False,
        "destination": to,
    }
    return Delivery(**given | fields)


def a_line(kind, at=NOW, **members):
    """Return an event of a trace. If the members do not match the kind, the event is like that of another version."""
    return TraceEvent(at, trace_events.from_members(kind, members))


class NoSeal:
    """A seal that does not encrypt secrets, for tests of other things."""

    newest_id = b""

    def seal(self, secret, of, *, key_id=b""):
        return secret.encode()

    def is_newest(self, sealed):
        return True

    def unseal(self, sealed, of):
        return sealed.decode()


def in_memory():
    """Return a transaction on an empty SQLite database in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    sqlite_file.migrate(connection, where="memory")
    return SqliteTransaction(connection, NoSeal())
