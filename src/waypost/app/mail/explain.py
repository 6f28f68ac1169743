"""Explains what would happen to mail for an address now, by the code that decides for real mail. Nothing is sent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import accept, bounces, trace
from waypost.app.mail.recipients import find_recipients
from waypost.domain import errors
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail import messages, routes, routing
from waypost.domain.mail.delivery import Protocol
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import forecasts
from waypost.domain.mailauth.forecasts import Author, Forecast, Rewriting


@dataclass(frozen=True, slots=True)
class Asked:
    """The mail that is asked about, as far as it is known."""

    address: Address
    sender: str | None = None
    """Empty for the null sender; None if unknown."""
    header: bytes | None = None
    """The size of the message; None without one."""


@dataclass(frozen=True, slots=True)
class Course:
    """The forecast for one delivery."""

    destination: routing.Destination
    route_number: int | None
    """Its number, as in `waypost routes list`; None for a route of the settings file, and without a route."""
    is_routed: bool
    """Whether a route matches; without one, the inbox keeps the mail."""
    leads_to: str
    """Its destination; empty for the inbox alone."""
    rewriting: Rewriting | None
    """None if nothing is sent."""
    forecast: Forecast | None
    """What the next mail server will find; None if there is none."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to mail for an address now."""

    address: Address
    plan: routing.Plan | None
    """None if nobody here has the address."""
    because: list[str]
    courses: tuple[Course, ...] = ()
    received_lines: int | None = None
    """The hops of the message so far; None without a message."""
    loop: str = ""
    """Why the message would be refused as a mail loop."""
    is_return: bool = False
    """Whether it is a bounce for a message that was sent on."""
    is_full: bool = False
    """Whether the disk has no room for mail."""

    @property
    def is_accepted(self) -> bool:
        """Whether the server would accept such mail."""
        return not self.is_full and (self.is_return or (self.plan is not None and not self.loop))


NO_ROOM = (
    "Less of the disk is free than the reserve (--disk-reserve), so no mail is accepted until there is more; senders "
    "try again."
)


def without_room(found: Explanation) -> Explanation:
    """The same for a server whose disk has no room for mail now."""
    return replace(found, is_full=True, because=[NO_ROOM, *found.because]) if found.is_accepted else found


def explain(tx: ports.ReadTx, deployment: Deployment, account: str, asked: Asked, *, now: datetime) -> Explanation:
    """What would happen. An address of another account is explained like one that does not exist."""
    address = asked.address
    found = find_recipients(tx, deployment, [address])
    present = [recipient for recipient in found.present if recipient.email_address.account == account]
    if not present:
        return _unknown(tx, deployment, account, asked, now)
    in_force = deployment.routes_in_force(tx, found.routes_revision)
    plan = routing.plan(present, in_force)
    author = None if asked.header is None else forecasts.read_author(asked.header)
    received_lines = None
    loop = ""
    if asked.header is not None:
        facts = messages.read_header(asked.header)
        received_lines = facts.received_lines
        try:
            plan = accept.without_circles(facts, present, plan, deployment)
        except errors.MailLoop as error:
            loop = error.message
    return Explanation(
        address,
        plan,
        list(_reasons(tx, present[0].email_address, plan)),
        courses=tuple(_course(one, deployment, in_force, asked.sender, author) for one in plan.destinations),
        received_lines=received_lines,
        loop=loop,
    )


def _unknown(tx: ports.ReadTx, deployment: Deployment, account: str, asked: Asked, now: datetime) -> Explanation:
    address = asked.address
    original = None if asked.sender else bounces.find(tx, deployment, asked.address, now)
    if original and original.delivery.account == account:
        because = (
            f"{address} is the sender of message {original.message.id}, as we have rewritten it. Only a bounce for it "
            f"is taken: it is kept in the inbox of {original.delivery.address}, and told in the trace of that message."
        )
        return Explanation(address, None, [because], is_return=asked.sender == "")
    return Explanation(address, None, [f"{address} is no email address of account {account}."])


def _course(
    destination: routing.Destination,
    deployment: Deployment,
    in_force: Sequence[Route],
    sender: str | None,
    author: Author | None,
) -> Course:
    route = destination.route
    is_routed = route in in_force
    number = in_force.index(route) - len(deployment.routes) + 1 if is_routed else 0
    rewriting = forecast = None
    if not route.is_inbox:
        own_domains = deployment.own_domains
        rewriting = forecasts.rewriting(sender, route, srs_domain=deployment.srs_domain, own_domains=own_domains)
        if route.target.protocol is Protocol.SMTP:
            hostname = deployment.hostname
            forecast = forecasts.forecast(sender, author, rewriting, own_domains=own_domains, hostname=hostname)
    return Course(
        destination,
        route_number=number if number > 0 else None,
        is_routed=is_routed,
        leads_to=routes.destination(route, destination.email_address.address),
        rewriting=rewriting,
        forecast=forecast,
    )


def _reasons(tx: ports.ReadTx, email_address: EmailAddress, plan: routing.Plan) -> Iterator[str]:
    for destination in plan.destinations:
        yield trace.because(destination)
    link = tx.links_of([email_address.id]).get(email_address.id)
    alias_id = link.alias_of(email_address.id) if link else None
    alias = tx.email_address_by_id(alias_id) if alias_id else None
    if alias:
        yield f"Mail sent to its alias {alias.address} arrives here too."
