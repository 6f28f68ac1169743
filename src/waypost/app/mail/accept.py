"""Accept mail: check that recipients exist on this server, and record a message in one transaction."""

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
"""The age after which an unfinished transfer is abandoned. The server ends every transfer much earlier than this.
"""

LISTED_AT_ONCE = 100
"""The maximum number of abandoned messages that one query lists."""

FORGOTTEN_AT_ONCE = 8
"""The number of pieces that one transaction deletes."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted message, and whether the message adds work to the queue: a delivery, or a notice that is due."""

    message: Message
    has_work: bool


def check_recipient(tx: ports.ReadTx, deployment: Deployment, address: Address, *, sender: str, now: datetime) -> None:
    """Raise `errors.UnknownRecipient` if this server does not accept mail from `sender` for `address`."""
    if find_owner(tx, deployment, address) is None and not (
        sender == "" and bounces.find(tx, deployment, address, now)
    ):
        raise errors.UnknownRecipient(f"There is no email address {address} on this server.")


def accounts_of(tx: ports.ReadTx, deployment: Deployment, recipients: Sequence[Address]) -> dict[str, str]:
    """Map each recipient's key to the account that owns the recipient; recipients without an owner are omitted."""
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
    """Record a message with all its deliveries and the first events of its trace.

    A message for an alias is also forwarded to the alias's primary. Forwarding is not recursive. `raw` contains the
    bytes that follow the first `kept` bytes, which `keep_octets` has already stored. `header` is the message's header.
    `authserv_id` is this server's name in `Authentication-Results`: fields of the message with that name are forged.
    `authserv_id` is empty if a trusted mail server hands the message over. `found` contains the results of the sender
    checks, which the server adds in a field above the message. `is_trusted` is true if a setting names the client's
    network, so that its senders are believed. When the transaction commits, this server becomes responsible for the
    mail.

    Raises `errors.MailLoop` if the message is in a mail loop. Raises `errors.RecipientsChanged` if an address was
    deleted after RCPT, so that the client tries again.
    """
    known = find_recipients(tx, deployment, recipients)
    present, comes_back = known.present, known.unknown
    originals = bounces.find_all(tx, deployment, comes_back, now) if envelope.sender == "" and comes_back else []
    if len(originals) < len(comes_back):
        raise errors.RecipientsChanged("A recipient was deleted during the transfer of the message; please try again")
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
    """Return the plan, in which forwarded copies that would loop stay in the inbox.

    Raise `errors.MailLoop` if the message itself is in a loop.
    """
    if not facts.loop_tokens:  # the common case
        messages.refuse_loop(facts, ids=[], key=deployment.loop_key)
        return plan
    aliases = {recipient.email_address.id for recipient in present if recipient.primary}
    routed = {one.email_address.id for one in plan.destinations if one.alias is None and not one.route.is_inbox}
    messages.refuse_loop(facts, ids=sorted(aliases | routed), key=deployment.loop_key)
    return routing.kept_from_circling(
        plan, lambda primary: messages.loop_token(deployment.loop_key, primary.id) in facts.loop_tokens
    )


def keep_octets(tx: ports.WriteTx, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
    """Store a piece of a message during its transfer, so that the server does not keep the whole message in memory."""
    tx.add_octets(message_id, octets, start=start, now=now)


def kept_octets(tx: ports.ReadTx, message_id: str, *, start: int, limit: int) -> bytes:
    """Return up to `limit` stored bytes of a message during its transfer, from the offset `start`."""
    return tx.octets(message_id, start=start, limit=limit)


def forget_octets(tx: ports.WriteTx, message_id: str) -> bool:
    """Delete some pieces of a message that was not completed, or that was refused after its last byte.

    Return whether there may be more pieces. One call deletes at most `FORGOTTEN_AT_ONCE` pieces, because other writes
    wait for the call's transaction.
    """
    if tx.trim_octets(message_id, limit=FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
        return True
    tx.remove_octets(message_id)
    return False


def left_over(tx: ports.ReadTx, *, begun_before: datetime) -> list[str]:
    """Return up to `LISTED_AT_ONCE` ids of messages that a stopped server left incomplete, for `forget_octets`."""
    return tx.messages_begun(before=begun_before, limit=LISTED_AT_ONCE)


def delivery_of(
    message: Message,
    destination: routing.Destination,
    deployment: Deployment,
    results: Sequence[str] = (),
    also_for: str = "",
) -> Delivery:
    """Build the delivery for a destination, with the trace header. `also_for` has the same meaning as in `Delivery`."""
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
