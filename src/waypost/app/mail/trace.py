"""Where did my mail go? Writes the trace of a message, and finds what an account may see of it."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from waypost.app import ports
from waypost.domain import errors, moments
from waypost.domain.directory import addresses
from waypost.domain.dsn import reports
from waypost.domain.mail import messages, routing
from waypost.domain.mail.delivery import Delivery, Reason
from waypost.domain.mail.messages import Message
from waypost.domain.mail.routes import destination as destination_of
from waypost.domain.mail.trace_events import (
    AcceptedEvent,
    CheckedEvent,
    DeliveredEvent,
    QueuedEvent,
    SparedEvent,
    TraceDetail,
    TraceEvent,
    address_of,
)
from waypost.domain.mailauth.enforcement import SWITCHED_OFF, Findings, Unchecked
from waypost.domain.mailauth.verdicts import Verdicts, in_words, trusted_results


@dataclass(frozen=True, slots=True)
class MessageDetails:
    """A message with its deliveries to one account, and its trace."""

    message: Message
    deliveries: list[Delivery]
    events: list[TraceEvent]
    authentication_results: tuple[str, ...]
    """Results of other servers that the message has; not those with this server's name, which are forged."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A message as delivered to one address: the trace lines, then the octets that the sender sent."""

    message_id: str
    trace_header: bytes
    size: int
    """Octets that the sender sent."""


def of_acceptance(
    message: Message,
    plan: routing.Plan,
    *,
    routes: str = "",
    found: Findings = SWITCHED_OFF,
    forged: int = 0,
) -> list[TraceEvent]:
    """The first lines of a message's trace: its acceptance, its deliveries, and the copies that were left out."""
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
        )
    ]
    if isinstance(found, Verdicts):
        details.append(CheckedEvent(**in_words(found)))
    details += [_beginning(destination) for destination in plan.destinations]
    details += [SparedEvent(address=one.email_address.address.text, because=one.why) for one in plan.spared]
    return [TraceEvent(message.received_at, detail) for detail in details]


def _beginning(destination: routing.Destination) -> DeliveredEvent | QueuedEvent:
    """The first line about a delivery."""
    address, route = destination.email_address.address, destination.route
    if route.is_inbox:
        return DeliveredEvent(address=address.text, reason=destination.reason.value, because=because(destination))
    return QueuedEvent(
        address=address.text,
        reason=destination.reason.value,
        because=because(destination),
        destination=destination_of(route, address),
        route=route.match,
        inbox="keeps a copy" if route.keep else "",
    )


def inbox(
    tx: ports.ReadTx, account: str, address: addresses.Address, *, after: str | None, limit: int
) -> list[tuple[Delivery, Message]]:
    """Deliveries of an address, newest first; mail delivered before the address was deleted included.

    Raises `errors.NotFound` if the account has no such address and never had mail for it.
    """
    found = tx.deliveries_at(account, address.key, after=after, limit=limit)
    if found or _owns(tx, account, address) or tx.deliveries_at(account, address.key, after=None, limit=1):
        return found
    raise errors.NotFound(f"There is no email address {address} in account {account}, and no mail for it is kept.")


def account_inbox(tx: ports.ReadTx, account: str, *, after: str | None, limit: int) -> list[tuple[Delivery, Message]]:
    """Deliveries in all inboxes of an account, newest first: those after the delivery or the message `after`."""
    if after is None:
        return tx.deliveries_kept(account, after=None, limit=limit)
    message_id, _, email_address_id = after.partition(".")
    return tx.deliveries_kept(account, after=(message_id, email_address_id), limit=limit)


def message_details(tx: ports.ReadTx, account: str, message_id: str) -> MessageDetails:
    """Everything that one account may see of a message. Raises `errors.NotFound`."""
    message = tx.message(account, message_id)
    if message is None:
        raise errors.NotFound(f"No message {message_id} was delivered in account {account}.")
    deliveries = tx.deliveries_of(account, message_id)
    theirs = {delivery.address.text for delivery in deliveries}
    events = [event for event in tx.trace(message_id) if address_of(event.detail) in {"", *theirs}]
    beginning = tx.octets(message_id, start=0, limit=messages.HEADER_LIMIT)
    believed = trusted_results(beginning[: messages.end_of_header(beginning)], message.authserv_id)
    return MessageDetails(message, deliveries, events, believed)


@dataclass(frozen=True, slots=True)
class Found:
    """The known messages and refusals for a search term."""

    messages: list[MessageDetails]
    """The newest first."""
    refusals: list[ports.Refusal]
    """The newest first."""


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
    """Where did my mail go? `what` is the id of a message, its Message-ID, or an address that it was sent to.

    In a domain with subaddresses, an address with a subaddress also stands for the email address without it.

    Refusals since `since` are shown to the account that owned the address at that time. Without such an owner, they are
    shown to `servers_owner`, the account of the server's owner. Raises `errors.NotFound` if nothing is known.
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
            address.key, account=account, and_nobodys=account == servers_owner, since=since, limit=limit
        )
    if not ids and not refusals:
        nothing = f"Nothing is known here about {what}: no message, and no refusal since {moment(since)}."
        # Refusals are kept together, a second after the first of them.
        again = " A refusal of the last second may not be here yet: ask again." if address else ""
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
    """The servers that a message has passed, this server as the last."""
    beginning = tx.octets(delivery.message_id, start=0, limit=messages.HEADER_LIMIT)
    header = delivery.trace_header + beginning[: messages.end_of_header(beginning)]
    return reports.path(header)


def moment(at: datetime) -> str:
    """A moment in the form of the trace."""
    return moments.iso8601(at)


def copy(tx: ports.ReadTx, account: str, message_id: str, address: addresses.Address) -> Copy:
    """The message as it was delivered to an address. Raises `errors.NotFound`."""
    message = tx.message(account, message_id)
    for delivery in tx.deliveries_of(account, message_id) if message else ():
        if message and delivery.address.key == address.key:
            return Copy(message_id, delivery.trace_header, message.size)
    raise errors.NotFound(f"Message {message_id} was not delivered to {address} in account {account}.")


def _owns(tx: ports.ReadTx, account: str, address: addresses.Address) -> bool:
    """Whether an email address of this account has this address now."""
    email_address = tx.email_address_by_key(address.key)
    return email_address is not None and email_address.account == account


def because(destination: routing.Destination) -> str:
    """The reason for a destination, in a sentence or two."""
    addressed = (destination.alias or destination.email_address).address
    if destination.sent_to.key == addressed.key:
        return _why_there(destination)
    domain = addressed.key.rpartition("@")[2]
    by_rule = f"{destination.sent_to} is {addressed} with a subaddress, which {domain} has (--subaddressing)."
    return f"{by_rule} {_why_there(destination)}"


def _why_there(destination: routing.Destination) -> str:
    address = destination.email_address.address
    if destination.would_circle:
        return f"The message has gone the route of {address} before and came back, so it is kept in its inbox."
    if destination.reason is Reason.FORWARDED and destination.alias:
        return f"{destination.alias.address} is an alias of {address}, so a copy is forwarded there."
    if destination.route.is_inbox:
        return f"{address} is an email address here, so mail for it is kept in its inbox."
    return f"{address} is an email address here, and its mail goes where the route for {destination.route.match} leads."
