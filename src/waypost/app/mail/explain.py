"""Explain what the server would do now with mail for an address. The explanation uses the same code that processes real
mail.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import accept, bounces, trace
from waypost.app.mail.faults import Expected, FaultRules
from waypost.app.mail.recipients import find_recipients
from waypost.domain import errors
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail import fault_rules, messages, routes, routing
from waypost.domain.mail.delivery import Protocol
from waypost.domain.mail.fault_rules import Action, Stage
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import forecasts
from waypost.domain.mailauth.forecasts import Author, Forecast, Rewriting


class Asked(Struct, frozen=True):
    """The mail to explain: its recipient, and its sender and header if they are known."""

    address: Address
    sender: str | None = None
    """The envelope sender; empty for the null sender, None if unknown."""
    header: bytes | None = None
    """The header of the message; None if no message was given."""


class Course(Struct, frozen=True):
    """The expected handling of one delivery: its destination and route, and how its sender is rewritten and checked."""

    destination: routing.Destination
    route_number: int | None
    """The route's number, as in `waypost routes list`; None for a route from the settings file, or if no route
    matches.
    """
    is_routed: bool
    """Whether a route matches. If no route matches, the inbox keeps the mail."""
    leads_to: str
    """The route's destination; empty if only the inbox keeps the mail."""
    rewriting: Rewriting | None
    """Whether and how the sender is rewritten; None if the mail stays in the inbox."""
    forecast: Forecast | None
    """The SPF, DKIM and DMARC results that the next mail server is expected to find; None if the mail is not sent by
    SMTP.
    """


class Explanation(Struct, frozen=True):
    """An explanation of what the server would do now with mail for an address."""

    address: Address
    plan: routing.Plan | None
    """The planned deliveries; None if the address is not an email address of the account."""
    because: list[str]
    courses: tuple[Course, ...] = ()
    received_lines: int | None = None
    """The number of `Received` fields in the message; None if no message was given."""
    loop: str = ""
    """The reason why the message would be refused as a mail loop; empty if the message is not in a loop."""
    is_return: bool = False
    """Whether the mail is a bounce for a message that was forwarded with a rewritten sender."""
    is_full: bool = False
    """Whether the disk is too full to accept mail."""
    is_fault: bool = False
    """Whether the server, which is for tests, would refuse the mail on purpose."""

    @property
    def is_accepted(self) -> bool:
        """Whether the server would accept the explained mail."""
        return not (self.is_full or self.is_fault) and (self.is_return or (self.plan is not None and not self.loop))


NO_ROOM = (
    "The free disk space is below the reserve (--disk-reserve), so the server accepts no mail until space is freed. "
    "Clients try again later."
)


def without_room(found: Explanation) -> Explanation:
    """Return the explanation, with the added reason that the disk is too full to accept the mail. If the mail would be
    refused anyway, return the explanation unchanged.
    """
    return replace(found, is_full=True, because=[NO_ROOM, *found.because]) if found.is_accepted else found


def explain(
    tx: ports.ReadTx, deployment: Deployment, account: str, asked: Asked, *, now: datetime, faults: FaultRules
) -> Explanation:
    """Explain what the server would do with the mail now. An address of another account is treated like an address that
    does not exist. `faults` are the fault rules, which only servers for tests have.
    """
    found = _explain(tx, deployment, account, asked, now)
    if not faults.allowed:
        return found
    return _with_faults(found, tx, asked, deployment=deployment, account=account, faults=faults)


def _with_faults(
    found: Explanation, tx: ports.ReadTx, asked: Asked, *, deployment: Deployment, account: str, faults: FaultRules
) -> Explanation:
    """Return the explanation with the faults that the server would inject into the session."""
    expected = faults.expected(asked.sender, asked.address)
    because = [_fault(one) for one in expected]
    is_fault = any(one.refuses for one in expected)
    magic = fault_rules.read_magic(asked.address)
    if magic and not any(one.is_certain and one.rule.stage is Stage.RCPT for one in expected):
        kind, stands_for = magic
        if accept.accounts_of(tx, deployment, [stands_for]).get(stands_for.key) == account:
            is_fault = True
            does = "defers" if kind.action is Action.DEFER else "refuses"
            because.append(
                f"The server is for tests, and {does} mail for recipients that begin with {kind}+. {asked.address} "
                f"stands for {stands_for}."
            )
    if is_fault:
        return replace(found, is_fault=True, because=because, courses=())
    return replace(found, because=[*because, *found.because])


def _fault(expected: Expected) -> str:
    rule = expected.rule
    what = f'at the stage "{rule.stage}" with the action "{rule.action}"'
    if expected.is_certain:
        return f"Fault rule {expected.id} applies {what}."
    return f"Fault rule {expected.id} may apply {what}. This depends on the sender, the client, the size or chance."


def _explain(tx: ports.ReadTx, deployment: Deployment, account: str, asked: Asked, now: datetime) -> Explanation:
    """Explain what the server would do without fault rules."""
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
            plan = accept.without_loops(facts, present, plan, deployment)
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
            f"{address} is the rewritten sender of message {original.message.id}. This address accepts only bounces. "
            f"Bounces to it appear in the message's trace, and are kept in the inbox of {original.delivery.address}."
        )
        return Explanation(address, None, [because], is_return=asked.sender == "")
    return Explanation(address, None, [f"{address} is not an email address of account {account}."])


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
        primary = email_address.address
        yield f"Mail sent to {alias.address}, an alias of {primary}, is also delivered to {primary}."
