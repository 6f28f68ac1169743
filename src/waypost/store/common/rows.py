"""Converts between domain values and rows that do not have exactly the columns of one table.

For rows with the columns of one table, see `sql/tables.py`.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from waypost.app import ports
from waypost.domain.directory import caseless
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail import checksums, trace_events
from waypost.domain.mail.delivery import Delivery, Queued, Reason, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.planned import PlannedDelivery, PlannedPart
from waypost.domain.mail.routes import Route
from waypost.domain.mail.trace_events import TraceEvent
from waypost.store.sql import tables
from waypost.store.sql.kinds import from_milliseconds, to_json, to_milliseconds

Row = Sequence[Any]

instance = tables.INSTANCES.read
email_address = tables.EMAIL_ADDRESSES.read
message = tables.MESSAGES.read
delivery = tables.DELIVERIES.read
refusal = tables.REFUSALS.read
console_session = tables.CONSOLE_SESSIONS.read

of_email_address = tables.EMAIL_ADDRESSES.write
of_message = tables.MESSAGES.write
of_delivery = tables.DELIVERIES.write
of_refusal = tables.REFUSALS.write
of_console_session = tables.CONSOLE_SESSIONS.write

_EMAIL_ADDRESS, _DELIVERY = len(tables.EMAIL_ADDRESSES), len(tables.DELIVERIES)
_primary_after = tables.EMAIL_ADDRESSES.reader(start=_EMAIL_ADDRESS)
_message_after = tables.MESSAGES.reader(start=_DELIVERY)


def alias_key(alias: str) -> str:
    """Return the key for comparing instance aliases without regard to case."""
    return alias.lower()


def of_instance(instance: Instance) -> Row:
    """Return the row for an instance, including the comparison key of its alias."""
    return (*tables.INSTANCES.write(instance), alias_key(instance.alias) if instance.alias else None)


def with_primary(row: Row) -> tuple[EmailAddress, EmailAddress | None]:
    """Read an email address and, if it is an alias, its primary."""
    return email_address(row), _primary_after(row) if row[_EMAIL_ADDRESS] else None


def owners(found: Sequence[Row]) -> ports.Owners:
    """Read the owners of several addresses, and the revision of the routes, which each row repeats.

    The result for a few rows is cached by their content, because most mail is for addresses that seldom change.
    """
    return _same_owners(tuple(found)) if len(found) <= _FEW else _owners(found)


_FEW = 4
"""The maximum number of rows for which the owners are cached. More rows would take too much memory."""


def _owners(found: Sequence[Row]) -> ports.Owners:
    by_key = {own.address.key: (own, primary) for own, primary in (with_primary(row[1:]) for row in found if row[1])}
    return ports.Owners(by_key, revision(found[0][0]))


_same_owners = lru_cache(maxsize=500)(_owners)


def link(row: Row) -> AliasLink:
    """Read an alias link from either of the two rows that store it."""
    own_id, side, other_id, created_at = row
    primary_id, alias_id = (own_id, other_id) if side == "primary" else (other_id, own_id)
    return AliasLink(primary_id, alias_id, from_milliseconds(created_at))


def description(row: Row) -> ports.Description:
    """Read the description of an email address. The row contains the tags as a JSON object."""
    address, display_name, description, created_at, modified_at, alias_id, tags = row
    return ports.Description(
        address,
        display_name,
        description,
        from_milliseconds(created_at),
        from_milliseconds(modified_at),
        alias_id,
        json.loads(tags) if tags != "{}" else {},
    )


def found(row: Row) -> tuple[EmailAddress, AliasLink | None]:
    """Read an email address and its alias link. The link is None if the email address has none."""
    own_link = row[_EMAIL_ADDRESS : _EMAIL_ADDRESS + 4]
    return email_address(row), link(own_link) if own_link[0] else None


def of_search_entry(email_address: EmailAddress) -> Row:
    """Return the searchable texts of an email address: its case-folded address, display name and description."""
    texts = (email_address.address.text, email_address.display_name or "", email_address.description or "")
    return tuple(map(caseless.fold, texts))


def access_key(row: Row, unseal: Callable[[bytes, str], str]) -> AccessKey:
    """Read an access key from a row of `access_keys`, and unseal its secret."""
    columns = tables.ACCESS_KEYS
    return columns.read(row, unseal(columns.get(row, "sealed_secret"), columns.get(row, "id")))


def of_access_key(key: AccessKey, seal: Callable[[str, str], bytes]) -> Row:
    """Return the row for an access key, with its secret sealed."""
    return tables.ACCESS_KEYS.write(key, seal(key.secret, key.id))


def remembered_call(row: Row) -> ports.RememberedCall:
    """Read the recorded response to a call with a client token."""
    fingerprint, answer, made_at = row
    return ports.RememberedCall(fingerprint, answer, from_milliseconds(made_at))


def planned_part(text: str) -> PlannedPart:
    """Read planned deliveries from JSON. In the JSON, each delivery is a list of its field values, in the order in
    which `PlannedDelivery` declares the fields.
    """
    results, deliveries = json.loads(text)
    planned = [
        PlannedDelivery(id_, account, Address(*address), Reason(reason), *further)
        for id_, account, address, reason, *further in deliveries
    ]
    return PlannedPart(tuple(planned), tuple(results))


def of_planned_part(part: PlannedPart) -> str:
    """Write planned deliveries as JSON."""
    deliveries = [(*one[:2], (one.address.text, one.address.key), *one[3:]) for one in part.deliveries]
    return to_json([part.results, deliveries])


def listed_message(found: Sequence[Row]) -> ports.ListedMessage:
    """Read what a list shows of a message from a row for each of its deliveries."""
    message_id, sender, subject, received_at, *_ = found[0]
    deliveries = [
        ports.ListedDelivery(Address(address, key), via, Reason(reason), Status(status))
        for *_, address, key, via, reason, status in found
    ]
    return ports.ListedMessage(message_id, sender, subject, from_milliseconds(received_at), deliveries)


def delivery_and_message(row: Row) -> tuple[Delivery, Message]:
    """Read a delivery and its message."""
    return delivery(row), _message_after(row)


def dead_letter(row: Row) -> ports.DeadLetter:
    """Read a dead letter: the delivery, its message, the time at which the server gave up, and the reason."""
    *_, given_up_at, because = row
    moment = None if given_up_at is None else from_milliseconds(given_up_at)
    return ports.DeadLetter(*delivery_and_message(row), moment, because)


def all_claimed(found: Sequence[Row], claim: str) -> list[ports.Claimed]:
    """Read queued deliveries that the caller has just claimed with the token `claim`, and their messages."""
    messages: dict[str, Message] = {}  # deliveries of the same message share it
    claimed = []
    for row in found:
        its_delivery = delivery(row)
        its_message = messages.get(its_delivery.message_id)
        if its_message is None:
            its_message = messages[its_delivery.message_id] = _message_after(row)
        queued, _, because = _queued(row, its_delivery)
        octets, checksum = row[-6:-4]
        # The message may have arrived in several small pieces. Damaged bytes are not used: reading them later fails.
        if octets is not None and (
            len(octets) != its_message.size or not checksums.fits(checksum, its_message.id, 0, octets)
        ):
            octets = None
        claimed.append(
            ports.Claimed(
                delivery=its_delivery, queued=queued, claim=claim, because=because, message=its_message, octets=octets
            )
        )
    return claimed


def held(row: Row) -> ports.Held:
    """Read a queued delivery that is locked or claimed, with the claim that is stored in the row."""
    found = delivery(row)
    queued, claim, because = _queued(row, found)
    return ports.Held(delivery=found, queued=queued, claim=claim, because=because)


def _queued(row: Row, found: Delivery) -> tuple[Queued, str, str]:
    attempts, queued_at, claim, because = row[-4:]
    return Queued(delivery_id=found.id, attempts=attempts, queued_at=from_milliseconds(queued_at)), claim, because


def queue_line(row: Row) -> ports.QueueLine:
    """Read a queued delivery for a listing of the queue."""
    queued_at, due_at, attempts, is_claimed, because = row[_DELIVERY:]
    moments = (from_milliseconds(queued_at), from_milliseconds(due_at))
    return ports.QueueLine(delivery(row), *moments, attempts, bool(is_claimed), because)


def trace(found: Sequence[Row]) -> list[TraceEvent]:
    """Read a trace from rows that each contain the first events, as JSON, and one later event. The later event is NULL
    if there is none.
    """
    first = json.loads(found[0][0]) if found and found[0][0] else []
    later = [(at, kind, json.loads(members)) for _, at, kind, members in found if kind is not None]
    return [
        TraceEvent(from_milliseconds(at), trace_events.from_members(kind, members))
        for at, kind, members in (*first, *later)
    ]


def trace_event(row: Row) -> TraceEvent:
    """Read one event of a trace."""
    at, kind, members = row
    return TraceEvent(from_milliseconds(at), trace_events.from_members(kind, json.loads(members)))


def of_first_events(events: Sequence[TraceEvent]) -> str:
    """Write the first events of a trace as JSON."""
    return to_json([_of_event(event) for event in events])


def of_next_trace_event(message_id: str, event: TraceEvent) -> Row:
    """Return the row for an event that will be appended to a trace. The row does not contain the event's number,
    because the query computes it.
    """
    at, kind, members = _of_event(event)
    return (message_id, at, kind, to_json(members))


def _of_event(event: TraceEvent) -> tuple[int, str, dict[str, str | int]]:
    return (to_milliseconds(event.at), event.kind, trace_events.members(event.detail))


def revision(octets: bytes | None) -> str:
    """Decode the stored revision of the routes. Return an empty string if no route was ever added."""
    return octets.decode() if octets else ""


def route(row: Row, unseal: Callable[[bytes, str], str]) -> Route:
    """Read a route from a row of `routes`, and unseal its secret."""
    columns = tables.ROUTES
    context = _context(*(columns.get(row, name) for name in ("match", "target", "user_name")))
    return columns.read(row, unseal(columns.get(row, "sealed_secret"), context))


def of_route(number: int, route: Route, seal: Callable[[str, str], bytes]) -> Row:
    """Return the row for a route, with its secret sealed. `number` is the route's position in the list."""
    return (number, *tables.ROUTES.write(route, seal(route.secret, _context(route.match, route.to, route.user))))


def sealed_of_route(row: Row) -> bytes:
    """Return the sealed secret in a row of `routes`."""
    return bytes(tables.ROUTES.get(row, "sealed_secret"))


def context_of_route(route: Route) -> str:
    """Return the context for sealing the secret of a route."""
    return _context(route.match, route.to, route.user)


def _context(match: str, to: str, user: str) -> str:
    """Return the context for sealing a route's secret. The context names the route's target, so that the secret cannot
    be unsealed for a different target.
    """
    return f"route {match} {to} {user}"
