"""Decides the deliveries of a message from the recipients that its sender named.

Mail to an alias makes two deliveries: `direct` at the alias, which keeps its copy, and `forwarded` at its primary. An
email address gets a message once, however many recipients lead to it. There is one level of forwarding. It is decided
here, at acceptance, and never again for the same message.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from waypost.domain.directory.addresses import Address
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail.delivery import Reason
from waypost.domain.mail.routes import INBOX_ROUTE, Route, find


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient that exists: as the sender wrote it, the email address it names, and that one's primary."""

    sent_to: Address
    email_address: EmailAddress
    primary: EmailAddress | None
    """Where mail for it is forwarded, if it is an alias."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One email address that will get the message, and why."""

    email_address: EmailAddress
    reason: Reason
    sent_to: Address
    alias: EmailAddress | None
    """The alias whose mail this is, for a forwarded one."""
    route: Route = INBOX_ROUTE
    """Where it goes from here."""
    would_circle: bool = False
    """Whether the message has been over this route before, so that the inbox keeps it this time."""


@dataclass(frozen=True, slots=True)
class Spared:
    """A second copy that was not made, and why. The trace shows it."""

    email_address: EmailAddress
    why: str
    alias: Address | None = None
    """The alias whose copy it would have been, as the sender wrote it; None where it would have been a direct one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will happen to a message: its destinations, in the order of the recipients, and the copies that are left
    out.
    """

    destinations: tuple[Destination, ...]
    spared: tuple[Spared, ...]


def plan(recipients: Iterable[Recipient], routes: Sequence[Route] = ()) -> Plan:
    """Decide the deliveries of one message, each with the first of the routes that is for it.

    An addressed email address gets a direct delivery; forwarding only adds email addresses that would not get the
    message otherwise.
    """
    recipients = tuple(recipients)
    destinations: dict[str, Destination] = {}
    spared: list[Spared] = []
    for recipient in recipients:
        addressed = recipient.email_address
        if addressed.id in destinations:
            spared.append(Spared(addressed, f"{addressed.address} was named more than once; one copy is enough"))
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
            why = f"{alias.address} forwards to {primary.address}, which was addressed itself; one copy is enough"
            spared.append(Spared(primary, why, recipient.sent_to))
    return Plan(tuple(destinations.values()), tuple(spared))


def kept_from_circling(plan: Plan, has_been_sent_on: Callable[[EmailAddress], bool]) -> Plan:
    """The same plan, where forwarded copies whose route would make a mail loop stay in the inbox of the primary.

    The message is not refused: otherwise a sender who tries one alias after the other would learn which primary each
    has.
    """
    destinations = tuple(
        replace(one, route=INBOX_ROUTE, would_circle=True)
        if one.alias and not one.route.is_inbox and has_been_sent_on(one.email_address)
        else one
        for one in plan.destinations
    )
    return replace(plan, destinations=destinations)
