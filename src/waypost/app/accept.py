"""Taking responsibility for mail: who is a recipient here, and what one transaction records of a message.

`explain` tells in advance what acceptance would do, by the same code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from waypost.app import ports, trace
from waypost.domain import errors, messages, routing
from waypost.domain.addresses import Address
from waypost.domain.delivery import Delivery, Status
from waypost.domain.messages import Envelope, Message


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
    raw: bytes,
    now: datetime,
) -> Message:
    """Record a message with all its deliveries and the beginning of its trace. Aliases are followed here, once.

    When the transaction is committed, the mail is ours. Raises `errors.MailLoop`, or
    `errors.RecipientsChanged` if an address was deleted since RCPT, so that the sender asks again.
    """
    found = [find_recipient(tx, address) for address in recipients]
    present = [recipient for recipient in found if recipient is not None]
    if len(present) < len(found):
        raise errors.RecipientsChanged("A recipient was deleted while the message was sent; please try again")

    facts = messages.read_header(raw)
    alias_ids = [recipient.email_address.id for recipient in present if recipient.primary]
    messages.refuse_loop(facts, alias_ids=alias_ids, key=deployment.loop_key)

    message = Message(id=message_id, envelope=envelope, received_at=now, size=len(raw), subject=facts.subject)
    plan = routing.plan(present)
    deliveries = [_delivery(message, destination, deployment) for destination in plan.destinations]
    tx.add_message(message, raw, deliveries, trace.of_acceptance(message, plan))
    return message


def find_recipient(tx: ports.ReadTx, address: Address) -> routing.Recipient | None:
    """The email address that mail for `address` reaches, with its primary if it is an alias, or None."""
    found = tx.email_address_with_primary(address.key)
    return routing.Recipient(address, *found) if found else None


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
    recipient = find_recipient(tx, address)
    if recipient is None or recipient.email_address.account != account:
        return Explanation(address, None, [f"{address} is no email address of account {account}."])
    plan = routing.plan([recipient])
    return Explanation(address, plan, list(_reasons(tx, recipient, plan)))


def _reasons(tx: ports.ReadTx, recipient: routing.Recipient, plan: routing.Plan) -> Iterator[str]:
    for destination in plan.destinations:
        yield trace.because(destination)
    link = tx.link_of(recipient.email_address.id)
    alias_id = link.alias_of(recipient.email_address.id) if link else None
    alias = tx.email_address_by_id(alias_id) if alias_id else None
    if alias:
        yield f"Mail sent to its alias {alias.address} arrives here too."


def _delivery(message: Message, destination: routing.Destination, deployment: Deployment) -> Delivery:
    email_address, alias = destination.email_address, destination.alias
    header = messages.trace_header(
        message,
        hostname=deployment.hostname,
        delivered_to=email_address.address.text,
        sent_to=destination.sent_to.text,
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
