"""Taking responsibility for mail: who is a recipient here, and what one transaction records of a message.

`explain` tells in advance what acceptance would do, by the same code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.app import ports, trace
from waypost.domain import errors, messages, routing
from waypost.domain.addresses import Address
from waypost.domain.authentication import Verdicts, authentication_results, count_forged
from waypost.domain.delivery import Delivery, Status
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.messages import Envelope, Message

LONGEST_TRANSFER = timedelta(days=1)
"""What has been coming in for longer than that will not come to its end: every edge gives up long before."""

LISTED_AT_ONCE = 100

FORGOTTEN_AT_ONCE = 8
"""Pieces that one transaction lets go of."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What acceptance must know of this deployment: its name in trace lines, and the key of loop tokens."""

    hostname: str
    loop_key: bytes


def check_recipient(tx: ports.ReadTx, address: Address) -> None:
    """Raise `errors.UnknownRecipient` if mail for this address is not ours to take."""
    if tx.email_address_by_key(address.key) is None:
        raise errors.UnknownRecipient(f"{address} is no email address here.")


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
    verdicts: Verdicts | None = None,
    unchecked: str = "",
    now: datetime,
) -> Message:
    """Record a message with all its deliveries and the beginning of its trace. Aliases are followed here, once.

    `raw` is what follows the `kept` octets, which `keep_octets` has kept; `header` is the message's header.
    `authserv_id` is the name under which we tell who sent a message: results in it that bear it are forged. It is
    empty where a server of ours hands the message over. When the transaction is committed, the mail is ours.

    Raises `errors.MailLoop`, or `errors.RecipientsChanged` if an address was deleted since RCPT, so that the sender
    asks again.
    """
    present = find_recipients(tx, recipients)
    if len(present) < len(recipients):
        raise errors.RecipientsChanged("A recipient was deleted while the message was sent; please try again")

    facts = messages.read_header(header)
    alias_ids = [recipient.email_address.id for recipient in present if recipient.primary]
    messages.refuse_loop(facts, alias_ids=alias_ids, key=deployment.loop_key)

    message = Message(
        id=message_id,
        envelope=envelope,
        received_at=now,
        size=kept + len(raw),
        subject=facts.subject,
        authserv_id=authserv_id,
    )
    plan = routing.plan(present)
    results = authentication_results(verdicts, deployment.hostname) if verdicts else []
    deliveries = [_delivery(message, destination, deployment, results) for destination in plan.destinations]
    forged = count_forged(header, authserv_id)
    tx.add_message(
        message,
        raw,
        deliveries,
        trace.of_acceptance(message, plan, verdicts=verdicts, unchecked=unchecked, forged=forged),
    )
    return message


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


def find_recipients(tx: ports.ReadTx, recipients: Sequence[Address]) -> list[routing.Recipient]:
    """The email addresses that mail for these recipients reaches; recipients that are none here are left out."""
    owners = tx.owners([address.key for address in recipients])
    return [routing.Recipient(address, *owners[address.key]) for address in recipients if address.key in owners]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to mail for an address now. `plan` is None if it would be refused."""

    address: Address
    plan: routing.Plan | None
    because: list[str]


def explain(tx: ports.ReadTx, account: str, address: Address) -> Explanation:
    """What would happen to mail for this address now, decided by the code that decides for real mail.

    An address of another account is explained like one that does not exist.
    """
    found = find_recipients(tx, [address])
    if not found or found[0].email_address.account != account:
        return Explanation(address, None, [f"{address} is no email address of account {account}."])
    plan = routing.plan(found)
    return Explanation(address, plan, list(_reasons(tx, found[0].email_address, plan)))


def _reasons(tx: ports.ReadTx, email_address: EmailAddress, plan: routing.Plan) -> Iterator[str]:
    for destination in plan.destinations:
        yield trace.because(destination)
    link = tx.links_of([email_address.id]).get(email_address.id)
    alias_id = link.alias_of(email_address.id) if link else None
    alias = tx.email_address_by_id(alias_id) if alias_id else None
    if alias:
        yield f"Mail sent to its alias {alias.address} arrives here too."


def _delivery(
    message: Message, destination: routing.Destination, deployment: Deployment, results: Sequence[str]
) -> Delivery:
    email_address, alias = destination.email_address, destination.alias
    header = messages.trace_header(
        message,
        hostname=deployment.hostname,
        delivered_to=email_address.address.text,
        sent_to=destination.sent_to.text,
        results=results,
        token=messages.loop_token(deployment.loop_key, alias.id) if alias else None,
    )
    return Delivery(
        message_id=message.id,
        email_address_id=email_address.id,
        account=email_address.account,
        address=email_address.address,
        reason=destination.reason,
        sent_to=destination.sent_to.text,
        via=alias.address.text if alias else None,
        status=Status.DELIVERED,
        trace_header=header,
    )
