"""Converts rows to domain values and back, where a row has more than the columns of one table (for those see
`sql/tables.py`).
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from waypost.app import ports
from waypost.domain.directory import caseless
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail import trace_events
from waypost.domain.mail.delivery import Delivery, Queued
from waypost.domain.mail.messages import Message
from waypost.domain.mail.routes import Route
from waypost.domain.mail.trace_events import TraceEvent
from waypost.store.sql import tables
from waypost.store.sql.kinds import from_milliseconds, to_milliseconds

Row = Sequence[Any]

instance = tables.INSTANCES.read
email_address = tables.EMAIL_ADDRESSES.read
message = tables.MESSAGES.read
delivery = tables.DELIVERIES.read
refusal = tables.REFUSALS.read

of_email_address = tables.EMAIL_ADDRESSES.write
of_message = tables.MESSAGES.write
of_delivery = tables.DELIVERIES.write
of_refusal = tables.REFUSALS.write

_EMAIL_ADDRESS, _DELIVERY = len(tables.EMAIL_ADDRESSES), len(tables.DELIVERIES)
_primary_behind = tables.EMAIL_ADDRESSES.reader(start=_EMAIL_ADDRESS)
_message_behind = tables.MESSAGES.reader(start=_DELIVERY)


def alias_key(alias: str) -> str:
    """The key by which instance aliases are compared."""
    return alias.lower()


def of_instance(instance: Instance) -> Row:
    """The row of an instance, and the key of its alias."""
    return (*tables.INSTANCES.write(instance), alias_key(instance.alias) if instance.alias else None)


def with_primary(row: Row) -> tuple[EmailAddress, EmailAddress | None]:
    """An email address and, if it is an alias, its primary."""
    return email_address(row), _primary_behind(row) if row[_EMAIL_ADDRESS] else None


def link(row: Row) -> AliasLink:
    """The alias link, read from either of the two rows that store it."""
    own_id, side, other_id, created_at = row
    primary_id, alias_id = (own_id, other_id) if side == "primary" else (other_id, own_id)
    return AliasLink(primary_id, alias_id, from_milliseconds(created_at))


def description(row: Row) -> ports.Description:
    """An email address, the row of its link if it has one, and its tags as a JSON object."""
    email_address, link = found(row[:-1])
    tags = row[-1]
    return ports.Description(email_address, link, json.loads(tags) if tags != "{}" else {})


def found(row: Row) -> tuple[EmailAddress, AliasLink | None]:
    """An email address with the row of its link, if it has one."""
    own_link = row[_EMAIL_ADDRESS : _EMAIL_ADDRESS + 4]
    return email_address(row), link(own_link) if own_link[0] else None


def of_search_entry(email_address: EmailAddress) -> Row:
    """The searchable texts of an email address: its address, display name, and description."""
    texts = (email_address.address.text, email_address.display_name or "", email_address.description or "")
    return tuple(map(caseless.fold, texts))


def access_key(row: Row, unseal: Callable[[bytes, str], str]) -> AccessKey:
    """The access key of a row of `access_keys`, its secret unsealed."""
    columns = tables.ACCESS_KEYS
    return columns.read(row, unseal(columns.get(row, "sealed_secret"), columns.get(row, "id")))


def of_access_key(key: AccessKey, seal: Callable[[str, str], bytes]) -> Row:
    """The row of an access key, its secret sealed."""
    return tables.ACCESS_KEYS.write(key, seal(key.secret, key.id))


def remembered_call(row: Row) -> ports.RememberedCall:
    """The outcome of a call with a client token."""
    fingerprint, answer, made_at = row
    return ports.RememberedCall(fingerprint, answer, from_milliseconds(made_at))


def delivery_and_message(row: Row) -> tuple[Delivery, Message]:
    """A delivery with its message."""
    return delivery(row), _message_behind(row)


def dead_letter(row: Row) -> ports.DeadLetter:
    """A dead letter, with its message, and when and why its attempts ended."""
    *_, given_up_at, because = row
    moment = None if given_up_at is None else from_milliseconds(given_up_at)
    return ports.DeadLetter(*delivery_and_message(row), moment, because)


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
    """A delivery with its place in the queue, as lists show it."""
    queued_at, due_at, attempts, is_claimed, because = row[_DELIVERY:]
    moments = (from_milliseconds(queued_at), from_milliseconds(due_at))
    return ports.QueueLine(delivery(row), *moments, attempts, bool(is_claimed), because)


def trace_event(row: Row) -> TraceEvent:
    """One line of a trace."""
    at, kind, members = row
    return TraceEvent(from_milliseconds(at), trace_events.from_members(kind, json.loads(members)))


def of_trace_event(message_id: str, number: int, event: TraceEvent) -> Row:
    """The row of a line of a trace."""
    return (message_id, number, *_of_event(event))


def of_next_trace_event(message_id: str, event: TraceEvent) -> Row:
    """The row of a line of a trace that gets its number from those before it."""
    return (message_id, *_of_event(event))


def _of_event(event: TraceEvent) -> Row:
    return (to_milliseconds(event.at), event.kind, json.dumps(trace_events.members(event.detail)))


def revision(octets: bytes | None) -> str:
    """The stored revision of the routes; without one, no route was ever added."""
    return octets.decode() if octets else ""


def route(row: Row, unseal: Callable[[bytes, str], str]) -> Route:
    """The route of a row of `routes`, its secret unsealed."""
    columns = tables.ROUTES
    leads = _leads(*(columns.get(row, name) for name in ("match", "target", "user_name")))
    return columns.read(row, unseal(columns.get(row, "sealed_secret"), leads))


def of_route(number: int, route: Route, seal: Callable[[str, str], bytes]) -> Row:
    """The row of a route, its secret sealed."""
    return (number, *tables.ROUTES.write(route, seal(route.secret, _leads(route.match, route.to, route.user))))


def _leads(match: str, to: str, user: str) -> str:
    """The context that a route's secret is sealed for: a changed target cannot use the old secret."""
    return f"route {match} {to} {user}"
