"""Taking responsibility for mail: who is a recipient here, and what one transaction records of a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import bounces, notify, trace
from waypost.app.mail.recipients import find_owner, find_recipients
from waypost.domain import errors
from waypost.domain.directory.addresses import Address
from waypost.domain.dsn.notices import Action
from waypost.domain.mail import messages, routes, routing
from waypost.domain.mail.delivery import Delivery, Status, delivery_id
from waypost.domain.mail.messages import Envelope, HeaderFacts, Message
from waypost.domain.mailauth.enforcement import SWITCHED_OFF, Findings
from waypost.domain.mailauth.verdicts import Verdicts, authentication_results, count_forged, no_results
from waypost.domain.mailauth.vouching import vouches_for

LONGEST_TRANSFER = timedelta(days=1)
"""What has been coming in for longer than that will not come to its end: every edge gives up long before."""

LISTED_AT_ONCE = 100

FORGOTTEN_AT_ONCE = 8
"""Pieces that one transaction lets go of."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that is ours, and whether some of it waits to be sent on."""

    message: Message
    has_work: bool


def check_recipient(tx: ports.ReadTx, deployment: Deployment, address: Address, *, sender: str, now: datetime) -> None:
    """Raise `errors.UnknownRecipient` if mail from this sender for this address is not ours to take."""
    if find_owner(tx, deployment, address) is None and not (
        sender == "" and bounces.find(tx, deployment, address, now)
    ):
        raise errors.UnknownRecipient(f"{address} is no email address here.")


def accounts_of(tx: ports.ReadTx, deployment: Deployment, recipients: Sequence[Address]) -> dict[str, str]:
    """The accounts that own recipients now, by the keys of these; those that nobody owns are left out."""
    found = find_recipients(tx, deployment, recipients)
    return {recipient.sent_to.key: recipient.email_address.account for recipient in found.present}


def accept_message(
    tx: ports.WriteTx,
    deployment: Deployment,
    *,
    message_id: str,
    envelope: Envelope,
    recipients: Sequence[Address],
    header: bytes,
    raw: bytes,
    kept: int = 0,
    authserv_id: str = "",
    found: Findings = SWITCHED_OFF,
    is_trusted: bool = False,
    now: datetime,
) -> Accepted:
    """Record a message with all its deliveries and the beginning of its trace. Aliases are followed here, once.

    `raw` is what follows the `kept` octets, which `keep_octets` has kept; `header` is the message's header.
    `authserv_id` is the name under which we tell who sent a message: results in it that bear it are forged. It is
    empty where a server of ours hands the message over. `found` is what the checks of its sender found, which the
    field says that is put before the message. `is_trusted`: a setting names the client's network, so its senders are
    believed. When the transaction is committed, the mail is ours.

    Raises `errors.MailLoop`, or `errors.RecipientsChanged` if an address was deleted since RCPT, so that the sender
    asks again.
    """
    known = find_recipients(tx, deployment, recipients)
    present, comes_back = known.present, known.unknown
    originals = bounces.find_all(tx, deployment, comes_back, now) if envelope.sender == "" and comes_back else []
    if len(originals) < len(comes_back):
        raise errors.RecipientsChanged("A recipient was deleted while the message was sent; please try again")
    plan = routing.plan(present, deployment.routes_in_force(tx, known.routes_revision))

    facts = messages.read_header(header)
    plan = without_circles(facts, present, plan, deployment)

    message = Message(
        id=message_id,
        envelope=envelope,
        received_at=now,
        size=kept + len(raw),
        subject=facts.subject,
        header_id=facts.header_id,
        is_authentic=is_trusted or (isinstance(found, Verdicts) and vouches_for(found, envelope.sender, header)),
        authserv_id=authserv_id,
    )
    results: Sequence[str] = ()
    if isinstance(found, Verdicts):
        results = authentication_results(found, deployment.hostname)
    elif authserv_id and not is_trusted:
        results = no_results(authserv_id, str(found))
    also_for = {one.email_address.id: one.alias.text for one in reversed(plan.spared) if one.alias}
    deliveries = [
        delivery_of(message, destination, deployment, results, also_for.get(destination.email_address.id, ""))
        for destination in plan.destinations
    ]
    if originals:
        by_id = {delivery.email_address_id: delivery for delivery in deliveries}
        for one in originals:
            by_id.setdefault(one.delivery.email_address_id, one.delivery_of(message, deployment.hostname))
        deliveries = list(by_id.values())
    forged = count_forged(header, authserv_id)
    tx.add_message(
        message,
        raw,
        deliveries,
        trace.of_acceptance(
            message,
            plan,
            routes=deployment.revision(known.routes_revision),
            found=found,
            forged=forged,
        ),
        warn_at=now + deployment.delay_warning if deployment.delay_warning else None,
    )
    arrived = [delivery for delivery in deliveries if delivery.status is Status.DELIVERED]
    owes = notify.owe_successes(tx, arrived, message, Action.DELIVERED, now=now) or bool(originals)
    bounces.attach(tx, originals, message, now=now)
    waits = any(delivery.status is Status.QUEUED for delivery in deliveries)
    return Accepted(message, has_work=waits or owes)


def without_circles(
    facts: HeaderFacts, present: Sequence[routing.Recipient], plan: routing.Plan, deployment: Deployment
) -> routing.Plan:
    """The plan, but for what has been sent on from here before. Raises `errors.MailLoop`."""
    if not facts.loop_tokens:  # as nearly always
        messages.refuse_loop(facts, ids=[], key=deployment.loop_key)
        return plan
    aliases = {recipient.email_address.id for recipient in present if recipient.primary}
    routed = {one.email_address.id for one in plan.destinations if one.alias is None and not one.route.is_inbox}
    messages.refuse_loop(facts, ids=sorted(aliases | routed), key=deployment.loop_key)
    return routing.kept_from_circling(
        plan, lambda primary: messages.loop_token(deployment.loop_key, primary.id) in facts.loop_tokens
    )


def keep_octets(tx: ports.WriteTx, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
    """Keep a piece of a message that is still coming in, so that nobody has to hold it in memory."""
    tx.add_octets(message_id, octets, start=start, now=now)


def kept_octets(tx: ports.ReadTx, message_id: str, *, start: int, limit: int) -> bytes:
    """Some of what is kept of a message that is coming in."""
    return tx.octets(message_id, start=start, limit=limit)


def forget_octets(tx: ports.WriteTx, message_id: str) -> bool:
    """Let go of pieces of a message that did not come to its end, or was refused there. False if there are no more.

    Some at once: others wait for the store meanwhile.
    """
    if tx.trim_octets(message_id, limit=FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
        return True
    tx.remove_octets(message_id)
    return False


def left_over(tx: ports.ReadTx, *, begun_before: datetime) -> list[str]:
    """Messages that were coming in when a server died, some of them, for `forget_octets`."""
    return tx.messages_begun(before=begun_before, limit=LISTED_AT_ONCE)


def delivery_of(
    message: Message,
    destination: routing.Destination,
    deployment: Deployment,
    results: Sequence[str] = (),
    also_for: str = "",
) -> Delivery:
    """The delivery that a plan asks for, with its trace lines. `also_for` is as in `Delivery`."""
    email_address, alias, route = destination.email_address, destination.alias, destination.route
    is_inbox = route.is_inbox
    forwarders = [alias.id] if alias else []
    if not is_inbox:
        forwarders.append(email_address.id)
    header = messages.trace_header(
        message,
        hostname=deployment.hostname,
        delivered_to=email_address.address.text,
        sent_to=destination.sent_to.text,
        results=results,
        tokens=[messages.loop_token(deployment.loop_key, forwarder) for forwarder in forwarders],
        delivery_id="" if is_inbox else delivery_id(message.id, email_address.id),
    )
    return Delivery(
        message_id=message.id,
        email_address_id=email_address.id,
        account=email_address.account,
        address=email_address.address,
        reason=destination.reason,
        sent_to=destination.sent_to.text,
        via=alias.address.text if alias else None,
        status=Status.DELIVERED if is_inbox else Status.QUEUED,
        trace_header=header,
        kept=route.keep,
        destination="" if is_inbox else routes.destination(route, email_address.address),
        also_for=also_for,
    )
