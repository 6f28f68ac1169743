"""The columns of each table, and the struct fields that they store. No other module lists the columns.

To add a column, write a migration, and add a line to this module and a field to the struct. If the columns and the
fields differ, the program does not start. Columns that store no struct field, such as comparison keys and sort
numbers, are listed only in the queries that write them.
"""

from collections.abc import Mapping

from waypost.app import ports
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.iam.sessions import Session
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls
from waypost.store.sql.columns import Column, Columns
from waypost.store.sql.kinds import DSN, FLAG, JSON, MOMENT, TEXTS, one_of, or_none

INSTANCES = Columns(
    Instance,
    Column("id"),
    Column("account", "tenant.account"),
    Column("region", "tenant.region"),
    Column("alias"),
    Column("identity_management_type"),
    Column("directory_id"),
    Column("inbound_calls_enabled", kind=FLAG),
    Column("outbound_calls_enabled", kind=FLAG),
    Column("created_at", kind=MOMENT),
)
EMAIL_ADDRESSES = Columns(
    EmailAddress,
    Column("id"),
    Column("instance_id"),
    Column("account"),
    Column("address", "address.text"),
    Column("address_key", "address.key"),
    Column("display_name"),
    Column("description"),
    Column("created_at", kind=MOMENT),
    Column("modified_at", kind=MOMENT),
)
ACCESS_KEYS = Columns(
    AccessKey,
    Column("id"),
    Column("account"),
    Column("user_name"),
    Column("policy", "document"),
    Column("active", kind=FLAG),
    Column("created_at", kind=MOMENT),
    Column("expires_at", kind=or_none(MOMENT)),
    Column("session_token_digest"),
    Column("sealed_secret", "secret", is_given=True),
)
CONSOLE_SESSIONS = Columns(
    Session,
    Column("id"),
    Column("access_key_id"),
    Column("token_digest"),
    Column("previous_digest"),
    Column("token_made_at", kind=MOMENT),
    Column("opened_at", kind=MOMENT),
    Column("used_at", kind=MOMENT),
    Column("expires_at", kind=MOMENT),
)
ROUTES = Columns(
    Route,
    Column("match"),
    Column("target", "to"),
    Column("keep", kind=FLAG),
    Column("tls", kind=one_of(Tls)),
    Column("user_name", "user"),
    Column("sealed_secret", "secret", is_given=True),
    Column("rewrite_sender", kind=FLAG),
    Column("allow_private", kind=FLAG),
    Column("connections"),
    Column("fault", kind=or_none(one_of(Fault))),
    Column("line_ends", kind=one_of(LineEnds)),
)
MESSAGES = Columns(
    Message,
    Column("id"),
    Column("sender", "envelope.sender"),
    Column("recipients", "envelope.recipients", TEXTS),
    Column("helo", "envelope.helo"),
    Column("peer", "envelope.peer"),
    Column("protocol", "envelope.protocol"),
    Column("received_at", kind=MOMENT),
    Column("size"),
    Column("subject"),
    Column("body", "envelope.body"),
    Column("tls", "envelope.tls"),
    Column("dsn", "envelope.dsn", DSN),
    Column("authserv_id"),
    Column("header_id"),
    Column("is_authentic", kind=FLAG),
)
DELIVERIES = Columns(
    Delivery,
    Column("message_id"),
    Column("email_address_id"),
    Column("account"),
    Column("address", "address.text"),
    Column("address_key", "address.key"),
    Column("reason", kind=one_of(Reason)),
    Column("sent_to"),
    Column("via"),
    Column("status", kind=one_of(Status)),
    Column("trace_header"),
    Column("kept", kind=FLAG),
    Column("destination"),
    Column("also_for"),
)
REFUSALS = Columns(
    ports.Refusal,
    Column("at", kind=MOMENT),
    Column("peer"),
    Column("helo"),
    Column("sender"),
    Column("recipient"),
    Column("recipient_key"),
    Column("stage"),
    Column("reply"),
    Column("detail", kind=JSON),
    Column("account"),
)

LISTS: Mapping[str, tuple[str, ...]] = {
    "instances": INSTANCES.names,
    "email_addresses": EMAIL_ADDRESSES.names,
    "alias_link_ends": ("email_address_id", "side", "other_id", "created_at"),
    "access_keys": ACCESS_KEYS.names,
    "console_sessions": CONSOLE_SESSIONS.names,
    "routes": ROUTES.names,
    "messages": MESSAGES.names,
    "deliveries": DELIVERIES.names,
    "trace_events": ("at", "kind", "detail"),
    "refusals": REFUSALS.names,
    "queue": ("attempts", "queued_at", "claim", "because"),
    "remembered_calls": ("account", "region", "operation", "scope", "token", "fingerprint", "answer", "made_at"),
}
"""The columns that replace the placeholder `{table}` in a query, in the order in which rows are read and written."""


def columns(table: str, alias: str) -> str:
    """Return the column list of a table for a SELECT in which the table has the given alias."""
    return ", ".join(f"{alias}.{name}" for name in LISTS[table])
