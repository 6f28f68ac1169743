"""Rows to domain values and back, the same for every database.

The order of fields is that of the SELECT lists in `sql/`.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from waypost.app import ports
from waypost.domain.directory import caseless
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail.delivery import Delivery, Queued, Reason, Status
from waypost.domain.mail.messages import NO_DSN, Dsn, Envelope, Message, RecipientDsn
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls

Row = Sequence[Any]


def to_milliseconds(moment: datetime) -> int:
    """A moment as it is stored. `from_milliseconds` gives the same moment back."""
    return round(moment.timestamp() * 1000)


def from_milliseconds(milliseconds: int) -> datetime:
    """A stored moment, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def instance(row: Row) -> Instance:
    """The instance of a row of `instances`."""
    return Instance(
        id=row[0],
        tenant=Tenant(row[1], row[2]),
        alias=row[3],
        identity_management_type=row[4],
        directory_id=row[5],
        inbound_calls_enabled=bool(row[6]),
        outbound_calls_enabled=bool(row[7]),
        created_at=from_milliseconds(row[8]),
    )


def alias_key(alias: str) -> str:
    """What instance aliases are compared by."""
    return alias.lower()


def of_instance(instance: Instance) -> Row:
    """The row of an instance, with the key of its alias."""
    return (
        instance.id,
        instance.tenant.account,
        instance.tenant.region,
        instance.alias,
        alias_key(instance.alias) if instance.alias else None,
        instance.identity_management_type,
        instance.directory_id,
        instance.inbound_calls_enabled,
        instance.outbound_calls_enabled,
        to_milliseconds(instance.created_at),
    )


EMAIL_ADDRESS_FIELDS = 9
"""How many fields of a joined row belong to the first email address; the second one's follow."""


def email_address(row: Row) -> EmailAddress:
    """The email address of a row of `email_addresses`."""
    return EmailAddress(
        id=row[0],
        instance_id=row[1],
        account=row[2],
        address=Address(row[3], row[4]),
        display_name=row[5],
        description=row[6],
        created_at=from_milliseconds(row[7]),
        modified_at=from_milliseconds(row[8]),
    )


def with_primary(row: Row) -> tuple[EmailAddress, EmailAddress | None]:
    """An email address and, if it is an alias, its primary."""
    own, primary = row[:EMAIL_ADDRESS_FIELDS], row[EMAIL_ADDRESS_FIELDS:]
    return email_address(own), email_address(primary) if primary[0] else None


def of_email_address(email_address: EmailAddress) -> Row:
    """The row of an email address."""
    return (
        email_address.id,
        email_address.instance_id,
        email_address.account,
        email_address.address.text,
        email_address.address.key,
        email_address.display_name,
        email_address.description,
        to_milliseconds(email_address.created_at),
        to_milliseconds(email_address.modified_at),
    )


def link(row: Row) -> AliasLink:
    """The alias link of one of its two rows."""
    own_id, side, other_id, created_at = row
    primary_id, alias_id = (own_id, other_id) if side == "primary" else (other_id, own_id)
    return AliasLink(primary_id, alias_id, from_milliseconds(created_at))


def description(row: Row) -> ports.Description:
    """An email address, the row of its link if it has one, and its tags as a JSON object."""
    *own, own_id, side, other_id, linked_at, tags = row
    found = link((own_id, side, other_id, linked_at)) if side else None
    return ports.Description(email_address(own), found, json.loads(tags) if tags != "{}" else {})


def found(row: Row) -> tuple[EmailAddress, AliasLink | None]:
    """An email address with the row of its link, if it has one."""
    own_link = row[EMAIL_ADDRESS_FIELDS : EMAIL_ADDRESS_FIELDS + 4]
    return email_address(row), link(own_link) if own_link[0] else None


def of_search_entry(email_address: EmailAddress) -> Row:
    """The texts of an email address as they are searched: its address, display name, and description."""
    texts = (email_address.address.text, email_address.display_name or "", email_address.description or "")
    return tuple(map(caseless.fold, texts))


def access_key(row: Row, unseal: Callable[[bytes, str], str]) -> AccessKey:
    """The access key of a row of `access_keys`, its secret unsealed."""
    return AccessKey(
        id=row[0],
        account=row[1],
        user_name=row[2],
        document=row[3],
        active=bool(row[4]),
        created_at=from_milliseconds(row[5]),
        expires_at=None if row[6] is None else from_milliseconds(row[6]),
        session_token_digest=row[7],
        secret=unseal(row[8], row[0]),
    )


def of_access_key(key: AccessKey, sealed_secret: bytes) -> Row:
    """The row of an access key."""
    return (
        key.id,
        key.account,
        key.user_name,
        key.document,
        key.active,
        to_milliseconds(key.created_at),
        None if key.expires_at is None else to_milliseconds(key.expires_at),
        key.session_token_digest,
        sealed_secret,
    )


def remembered_call(row: Row) -> ports.RememberedCall:
    """The outcome of a call with a client token."""
    return ports.RememberedCall(row[0], row[1], from_milliseconds(row[2]))


def message(row: Row) -> Message:
    """The message of a row of `messages`."""
    envelope = Envelope(
        sender=row[1],
        recipients=_long_recipients(row[2]) if len(row[2]) > _SHORT else tuple(json.loads(row[2])),
        helo=row[3],
        peer=row[4],
        protocol=row[5],
        body=row[9],
        tls=row[10],
        dsn=_long_dsn(row[11]) if len(row[11]) > _SHORT else _dsn(row[11]),
    )
    return Message(
        id=row[0],
        envelope=envelope,
        received_at=from_milliseconds(row[6]),
        size=row[7],
        subject=row[8],
        authserv_id=row[12],
        header_id=row[13],
        is_authentic=bool(row[14]),
    )


def of_message(message: Message) -> Row:
    """The row of a message."""
    envelope = message.envelope
    return (
        message.id,
        envelope.sender,
        json.dumps(envelope.recipients),
        envelope.helo,
        envelope.peer,
        envelope.protocol,
        to_milliseconds(message.received_at),
        message.size,
        message.subject,
        envelope.body,
        envelope.tls,
        _of_dsn(envelope.dsn),
        message.authserv_id,
        message.header_id,
        message.is_authentic,
    )


_SHORT = 1_000
"""Characters of JSON that are decoded each time; what is longer, once for all deliveries of a message."""


def _dsn(text: str) -> Dsn:
    if not text:
        return NO_DSN
    found = json.loads(text)
    recipients = tuple(RecipientDsn(tuple(notify), orcpt) for notify, orcpt in found["recipients"])
    return Dsn(found["ret"], found["envid"], recipients)


_long_recipients = lru_cache(maxsize=8)(lambda text: tuple(json.loads(text)))
_long_dsn = lru_cache(maxsize=8)(_dsn)


def _of_dsn(dsn: Dsn) -> str:
    """What was asked about notifications as JSON; empty if it was nothing, as in nearly all mail."""
    if dsn == NO_DSN:
        return ""
    recipients = [[recipient.notify, recipient.orcpt] for recipient in dsn.recipients]
    return json.dumps({"ret": dsn.ret, "envid": dsn.envid, "recipients": recipients})


DELIVERY_FIELDS = 13
"""How many fields of a joined row belong to the delivery; the message's follow."""


def delivery(row: Row) -> Delivery:
    """The delivery of a row of `deliveries`."""
    return Delivery(
        message_id=row[0],
        email_address_id=row[1],
        account=row[2],
        address=Address(row[3], row[4]),
        reason=Reason(row[5]),
        sent_to=row[6],
        via=row[7],
        status=Status(row[8]),
        trace_header=row[9],
        kept=bool(row[10]),
        destination=row[11],
        also_for=row[12],
    )


def of_delivery(delivery: Delivery) -> Row:
    """The row of a delivery."""
    return (
        delivery.message_id,
        delivery.email_address_id,
        delivery.account,
        delivery.address.text,
        delivery.address.key,
        delivery.reason.value,
        delivery.sent_to,
        delivery.via,
        delivery.status.value,
        delivery.trace_header,
        delivery.kept,
        delivery.destination,
        delivery.also_for,
    )


def delivery_and_message(row: Row) -> tuple[Delivery, Message]:
    """A delivery with its message."""
    return delivery(row), message(row[DELIVERY_FIELDS:])


def claimed(row: Row, claim: str) -> ports.Claimed:
    """A delivery with its message and its row of the queue, under a new claim."""
    found, its_message = delivery_and_message(row)
    queued, _, because = _queued(row, found)
    return ports.Claimed(delivery=found, queued=queued, claim=claim, because=because, message=its_message)


def held(row: Row) -> ports.Held:
    """A delivery with its row of the queue."""
    found = delivery(row)
    queued, claim, because = _queued(row, found)
    return ports.Held(delivery=found, queued=queued, claim=claim, because=because)


def _queued(row: Row, found: Delivery) -> tuple[Queued, str, str]:
    attempts, queued_at, claim, because = row[-4:]
    return Queued(delivery_id=found.id, attempts=attempts, queued_at=from_milliseconds(queued_at)), claim, because


def queue_line(row: Row) -> ports.QueueLine:
    """A delivery with what a list tells of its place in the queue."""
    queued_at, due_at, attempts, is_claimed, because = row[DELIVERY_FIELDS:]
    moments = (from_milliseconds(queued_at), from_milliseconds(due_at))
    return ports.QueueLine(delivery(row), *moments, attempts, bool(is_claimed), because)


def trace_event(row: Row) -> ports.TraceEvent:
    """One line of a trace."""
    return ports.TraceEvent(from_milliseconds(row[0]), row[1], json.loads(row[2]))


def of_trace_event(message_id: str, number: int, event: ports.TraceEvent) -> Row:
    """The row of a line of a trace."""
    return (message_id, number, to_milliseconds(event.at), event.kind, json.dumps(event.detail))


def of_next_trace_event(message_id: str, event: ports.TraceEvent) -> Row:
    """The row of a line of a trace that gets its number from those before it."""
    return (message_id, to_milliseconds(event.at), event.kind, json.dumps(event.detail))


def refusal(row: Row) -> ports.Refusal:
    """The refusal of a row of `refusals`."""
    return ports.Refusal(
        at=from_milliseconds(row[0]),
        peer=row[1],
        helo=row[2],
        sender=row[3],
        recipient=row[4],
        recipient_key=row[5],
        stage=row[6],
        reply=row[7],
        detail=json.loads(row[8]),
        account=row[9],
    )


def of_refusal(refusal: ports.Refusal) -> Row:
    """The row of a refusal, without its number."""
    return (
        to_milliseconds(refusal.at),
        refusal.peer,
        refusal.helo,
        refusal.sender,
        refusal.recipient,
        refusal.recipient_key,
        refusal.stage,
        refusal.reply,
        json.dumps(refusal.detail),
        refusal.account,
    )


def revision(octets: bytes | None) -> str:
    """The revision of the routes as it is stored; none has been set where there is none."""
    return octets.decode() if octets else ""


def route(row: Row, unseal: Callable[[bytes, str], str]) -> Route:
    """The route of a row of `routes`, its secret unsealed."""
    return Route(
        match=row[0],
        to=row[1],
        keep=bool(row[2]),
        tls=Tls(row[3]),
        user=row[4],
        secret=unseal(row[5], _leads(row[0], row[1], row[4])),
        rewrite_sender=bool(row[6]),
        allow_private=bool(row[7]),
        connections=row[8],
        fault=None if row[9] is None else Fault(row[9]),
        line_ends=LineEnds(row[10]),
    )


def of_route(number: int, route: Route, seal: Callable[[str, str], bytes]) -> Row:
    """The row of a route, its secret sealed."""
    return (
        number,
        route.match,
        route.to,
        route.keep,
        route.tls.value,
        route.user,
        seal(route.secret, _leads(route.match, route.to, route.user)),
        route.rewrite_sender,
        route.allow_private,
        route.connections,
        None if route.fault is None else route.fault.value,
        route.line_ends.value,
    )


def _leads(match: str, to: str, user: str) -> str:
    """What the secret of a route is of: whoever changes where the route leads does not take the secret there."""
    return f"route {match} {to} {user}"
