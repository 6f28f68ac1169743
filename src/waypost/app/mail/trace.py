"""Trace mail: write the events of a message's trace, and find the messages and events that an account may see."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import reading
from waypost.domain import errors, moments
from waypost.domain.directory import addresses
from waypost.domain.dsn import reports
from waypost.domain.mail import messages, routing
from waypost.domain.mail.delivery import Delivery, Reason
from waypost.domain.mail.messages import Message
from waypost.domain.mail.planned import PlannedDelivery
from waypost.domain.mail.trace_events import (
    AcceptedEvent,
    CheckedEvent,
    DeletedEvent,
    DeliveredEvent,
    QueuedEvent,
    SparedEvent,
    TraceDetail,
    TraceEvent,
    address_of,
)
from waypost.domain.mailauth.enforcement import SWITCHED_OFF, Findings, Unchecked
from waypost.domain.mailauth.verdicts import Verdicts, in_words, trusted_results


class MessageDetails(Struct, frozen=True):
    """A message with its trace and its deliveries to one account."""

    message: Message
    deliveries: list[Delivery]
    events: list[TraceEvent]
    authentication_results: tuple[str, ...]
    """The message's `Authentication-Results` fields from other servers. Fields with this server's name are left out,
    because they are forged.
    """


class Copy(Struct, frozen=True):
    """A message as it was delivered to one address: the trace header, and then the bytes that the client sent."""

    message_id: str
    trace_header: bytes
    size: int
    """The number of bytes that the client sent."""


def of_acceptance(
    message: Message,
    beginnings: Sequence[TraceDetail],
    spared: Sequence[routing.Spared] = (),
    *,
    routes: str = "",
    found: Findings = SWITCHED_OFF,
    forged: int = 0,
    faults: str = "",
) -> list[TraceEvent]:
    """Return the first events in a message's trace: the acceptance, the beginnings of the deliveries that are stored
    with the message (`beginning`), and the duplicate copies that were not made.
    """
    envelope = message.envelope
    details: list[TraceDetail] = [
        AcceptedEvent(
            sender=envelope.sender,
            peer=envelope.peer,
            helo=envelope.helo,
            protocol=envelope.protocol,
            size=message.size,
            tls=envelope.tls,
            routes=routes,
            forged_authentication_results=forged,
            unchecked=str(found) if isinstance(found, Unchecked) and found != SWITCHED_OFF else "",
            faults=faults,
        )
    ]
    if isinstance(found, Verdicts):
        details.append(CheckedEvent(**in_words(found)))
    details += beginnings
    details += [SparedEvent(address=one.email_address.address.text, because=one.why) for one in spared]
    return [TraceEvent(message.received_at, detail) for detail in details]


def beginning(planned: PlannedDelivery) -> DeliveredEvent | QueuedEvent:
    """Return the first event about a delivery."""
    address, reason = planned.address.text, planned.reason.value
    if not planned.destination:
        return DeliveredEvent(address=address, reason=reason, because=planned.because)
    return QueuedEvent(
        address=address,
        reason=reason,
        because=planned.because,
        destination=planned.destination,
        route=planned.route,
        inbox="keeps a copy" if planned.kept else "",
    )


def inbox(
    tx: ports.ReadTx, account: str, address: addresses.Address, *, after: str | None, limit: int
) -> list[tuple[Delivery, Message]]:
    """Return up to `limit` deliveries in an address's inbox, newest first. If the address was deleted, the list still
    includes mail that was delivered before the deletion.

    Raises `errors.NotFound` if the account does not have the address and has no mail for it.
    """
    found = tx.deliveries_at(account, address.key, after=after, limit=limit)
    if found or _owns(tx, account, address) or tx.deliveries_at(account, address.key, after=None, limit=1):
        return found
    raise errors.NotFound(
        f"There is no email address {address} in account {account}. There is no mail for this address."
    )


def message_details(tx: ports.ReadTx, account: str, message_id: str) -> MessageDetails:
    """Return everything that an account may see about a message. Raises `errors.NotFound`."""
    message = reading.find(tx, account, message_id)
    deliveries = tx.deliveries_of(account, message_id)
    theirs = {delivery.address.text for delivery in deliveries}
    events = [
        event
        for event in tx.trace(message_id)
        if address_of(event.detail) in {"", *theirs}
        or (isinstance(event.detail, DeletedEvent) and event.detail.account == account)
    ]
    beginning = beginning_of(tx, message_id)
    believed = trusted_results(beginning[: messages.end_of_header(beginning)], message.authserv_id)
    return MessageDetails(message, deliveries, events, believed)


def beginning_of(tx: ports.ReadTx, message_id: str, limit: int = messages.HEADER_LIMIT) -> bytes:
    """Return the first bytes of a message; none if they are damaged, for callers that can do their work without."""
    try:
        return tx.octets(message_id, start=0, limit=limit)
    except ports.Damaged:
        return b""


class Found(Struct, frozen=True):
    """The messages and refusals that match a search term."""

    messages: list[MessageDetails]
    """The matches, newest first."""
    refusals: list[ports.Refusal]
    """The matches, newest first."""


def find(
    tx: ports.ReadTx,
    account: str,
    what: str,
    *,
    servers_owner: str,
    since: datetime,
    limit: int,
    subaddressed: Collection[str] = (),
) -> Found:
    """Find messages and refusals. `what` is a message's id, a message's Message-ID, or an address to which messages
    were sent.

    In a domain where subaddresses are enabled, a search for a subaddress also finds mail for the email address without
    the tag.

    The result includes refusals at or after the time `since`, but only for addresses that `account` owned at the time
    of the refusal. Refusals for addresses that no account owned are included only if `account` is `servers_owner`, the
    account of the server's owner. Raises `errors.NotFound` if there is no matching message or refusal.
    """
    if _ID.fullmatch(what):
        return Found([message_details(tx, account, what)], [])
    header_id = messages.read_header_id(what)
    ids = [message.id for message in tx.messages_with_header_id(account, header_id, limit=limit)]
    refusals: list[ports.Refusal] = []
    address = _address(what)
    if address:
        for key in addresses.owner_keys(address, subaddressed):
            ids += [message.id for _, message in tx.deliveries_to(account, key, after=None, limit=limit)]
        refusals = tx.refusals_of(
            address.key, account=account, with_unowned=account == servers_owner, since=since, limit=limit
        )
    if not ids and not refusals:
        nothing = f"Nothing was found for {what}: no messages, and no refusals since {moment(since)}."
        # Refusals are stored in batches, a second after the first refusal of the batch.
        again = " A refusal from the last second may not be recorded yet: try again." if address else ""
        raise errors.NotFound(nothing + again)
    newest = sorted(set(ids), reverse=True)[:limit]
    return Found([message_details(tx, account, message_id) for message_id in newest], refusals)


_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _address(text: str) -> addresses.Address | None:
    try:
        return addresses.parse(text)
    except errors.Invalid:
        return None


def path(tx: ports.ReadTx, delivery: Delivery) -> list[str]:
    """Return the servers that a message has passed through, ending with this server."""
    beginning = beginning_of(tx, delivery.message_id)
    header = delivery.trace_header + beginning[: messages.end_of_header(beginning)]
    return reports.path(header)


def moment(at: datetime) -> str:
    """Format a time as the trace shows it, in ISO 8601."""
    return moments.iso8601(at)


def copy(tx: ports.ReadTx, account: str, message_id: str, address: addresses.Address) -> Copy:
    """Return the copy of a message that was delivered to an address. Raises `errors.NotFound`."""
    message = tx.message(account, message_id)
    for delivery in tx.deliveries_of(account, message_id) if message else ():
        if message and delivery.address.key == address.key:
            return Copy(message_id, delivery.trace_header, message.size)
    raise errors.NotFound(f"Message {message_id} was not delivered to {address} in account {account}.")


def _owns(tx: ports.ReadTx, account: str, address: addresses.Address) -> bool:
    """Return whether the account currently owns an email address with this address."""
    email_address = tx.email_address_by_key(address.key)
    return email_address is not None and email_address.account == account


def because(destination: routing.Destination) -> str:
    """Explain in one or two sentences why a message goes to a destination."""
    addressed = (destination.alias or destination.email_address).address
    if destination.sent_to.key == addressed.key:
        return _reason_for_destination(destination)
    domain = addressed.key.rpartition("@")[2]
    by_rule = f"{destination.sent_to} is a subaddress of {addressed} (--subaddressing is on for {domain})."
    return f"{by_rule} {_reason_for_destination(destination)}"


def _reason_for_destination(destination: routing.Destination) -> str:
    address = destination.email_address.address
    if destination.would_loop:
        return (
            f"The message came back after it was sent over the route for {address}, so the inbox of {address} keeps it."
        )
    if destination.reason is Reason.FORWARDED and destination.alias:
        return f"A copy is forwarded, because {destination.alias.address} is an alias of {address}."
    if destination.route.is_inbox:
        return f"The mail is kept in the inbox of the email address {address}."
    return f"The mail for the email address {address} takes the route for {destination.route.match}."
