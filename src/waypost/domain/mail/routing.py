"""Decide which email addresses get a message, based on the recipients in its envelope.

Mail to an alias is delivered twice: to the alias itself, which keeps its copy (`direct`), and to its primary
(`forwarded`). An email address gets only one copy of a message, even if several recipients resolve to it. Forwarding
has only one level: a primary does not forward the mail again. The deliveries are decided once, when the message is
accepted.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain.directory.addresses import Address
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail.delivery import Reason
from waypost.domain.mail.routes import INBOX_ROUTE, Route, find


class Recipient(Struct, frozen=True):
    """An existing recipient: the address as the sender wrote it, the email address and, for an alias, the primary."""

    sent_to: Address
    email_address: EmailAddress
    primary: EmailAddress | None
    """The primary to which mail is forwarded; None if the email address is not an alias."""


class Destination(Struct, frozen=True):
    """One email address that will get the message, and the reason."""

    email_address: EmailAddress
    reason: Reason
    sent_to: Address
    alias: EmailAddress | None
    """The alias that forwarded the message; None for a direct delivery."""
    route: Route = INBOX_ROUTE
    """The route for this delivery."""
    would_loop: bool = False
    """Whether the message has already taken this route.

    If the message has already taken the route, it stays in the inbox, because taking the route again would repeat a
    mail loop.
    """


class Spared(Struct, frozen=True):
    """A duplicate copy that was omitted, and the reason. The trace shows both."""

    email_address: EmailAddress
    why: str
    alias: Address | None = None
    """The alias that would have forwarded the copy, as the sender wrote it; None for a direct copy."""


class Plan(Struct, frozen=True):
    """The plan for a message: its destinations in the order of the recipients, and the duplicates that are omitted."""

    destinations: tuple[Destination, ...]
    spared: tuple[Spared, ...]


def plan(recipients: Iterable[Recipient], routes: Sequence[Route] = ()) -> Plan:
    """Decide the deliveries of one message. Each delivery uses the first route that matches its email address.

    Each email address that the sender addressed gets a direct delivery. Forwarding adds only email addresses that would
    otherwise not get the message.
    """
    recipients = tuple(recipients)
    destinations: dict[str, Destination] = {}
    spared: list[Spared] = []
    for recipient in recipients:
        addressed = recipient.email_address
        if addressed.id in destinations:
            spared.append(Spared(addressed, f"{addressed.address} was addressed more than once, but gets one copy"))
            continue
        route = find(routes, addressed.address, addressed.instance_id)
        destinations[addressed.id] = Destination(addressed, Reason.DIRECT, recipient.sent_to, None, route)
    for recipient in recipients:
        alias, primary = recipient.email_address, recipient.primary
        if primary is None:
            continue
        if primary.id not in destinations:
            route = find(routes, primary.address, primary.instance_id)
            destinations[primary.id] = Destination(primary, Reason.FORWARDED, recipient.sent_to, alias, route)
        elif destinations[primary.id].reason is Reason.DIRECT:
            why = f"{alias.address} forwards to {primary.address}, which was also addressed directly, but gets one copy"
            spared.append(Spared(primary, why, recipient.sent_to))
    return Plan(tuple(destinations.values()), tuple(spared))


def without_loops(plan: Plan, has_been_sent_on: Callable[[EmailAddress], bool]) -> Plan:
    """Return the plan, but keep a forwarded copy in the primary's inbox if the primary's route would repeat a mail
    loop.

    The message is not refused, because a sender could use refusals to find the primary of an alias by trial and error.
    """
    destinations = tuple(
        replace(one, route=INBOX_ROUTE, would_loop=True)
        if one.alias and not one.route.is_inbox and has_been_sent_on(one.email_address)
        else one
        for one in plan.destinations
    )
    return replace(plan, destinations=destinations)
