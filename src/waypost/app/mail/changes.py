"""Read the changes to the mail of an account, in the order in which they were noted (`noting`)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from waypost.app import ports
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.messages import Message


@dataclass(frozen=True, slots=True)
class Changed:
    """A change, with the deliveries that it is about, as they are now."""

    change: ports.Change
    deliveries: Sequence[tuple[Delivery, Message]]
    """The delivery that changed, or all deliveries of a new message; empty if they were deleted."""


def after(tx: ports.ReadTx, account: str, number: int, *, limit: int) -> list[Changed]:
    """Return up to `limit` changes to the mail of an account with numbers greater than `number`, in order."""
    found = tx.changes(account, after=number, limit=limit)
    listed: dict[str, list[tuple[Delivery, Message]]] = defaultdict(list)
    if found:
        for delivery, message in tx.deliveries_listed(account, sorted({change.message_id for change in found})):
            listed[message.id].append((delivery, message))
    return [
        Changed(
            change,
            [
                (delivery, message)
                for delivery, message in listed[change.message_id]
                if change.email_address_id in {"", delivery.email_address_id}
            ][:DELIVERIES_LIMIT],
        )
        for change in found
    ]


DELIVERIES_LIMIT = 100
"""The maximum number of deliveries that one change lists."""
