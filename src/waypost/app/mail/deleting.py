"""Delete mail of an account on request.

Many small transactions delete the mail, so that they do not delay other mail and API calls. If the deletion fails on
the way, the completed steps remain in effect.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import accept, retention
from waypost.app.steps import Step, repeat_step, run_steps
from waypost.domain import errors
from waypost.domain.mail.delivery import Delivery, Status, ids_in
from waypost.domain.mail.messages import Message
from waypost.domain.mail.trace_events import DeletedEvent, TraceEvent

Position = TypeVar("Position")

AT_ONCE = 100
"""The maximum number of deliveries that one transaction deletes."""


class Deleted(Struct, frozen=True):
    """What one step has deleted."""

    deliveries: int
    octets_left: Sequence[str]
    """The ids of deleted messages whose bytes are not deleted yet (`accept.forget_octets`)."""


async def delete(store: ports.Store, account: str, ids: Sequence[str], *, cancel: bool, clock: ports.Clock) -> int:
    """Delete deliveries of an account. Return how many were deleted. An id is that of a delivery, or that of a message,
    which stands for all of its deliveries to the account.

    A message is deleted with its last delivery. Otherwise its trace records which delivery was deleted. A delivery that
    is queued is deleted only if `cancel` is true. The sender then gets no notice about it. An attempt that is in
    progress may still deliver the mail.

    Raises `errors.NotFound` for an id that the account does not have, and `errors.Conflict` for a queued delivery if
    `cancel` is false. If this happens in the first step, nothing is deleted.
    """
    given = list(dict.fromkeys(ids))

    def step(tx: ports.WriteTx, rest: Sequence[str] | None) -> Step[Deleted, Sequence[str]]:
        return delete_some(tx, account, given if rest is None else rest, cancel=cancel, now=clock())

    return await run(store, step)


async def run(store: ports.Store, step: Callable[[ports.WriteTx, Position | None], Step[Deleted, Position]]) -> int:
    """Run steps that delete deliveries, and delete the bytes that they leave. Return how many were deleted."""
    count = 0
    async for done in run_steps(store.write, step):
        count += done.deliveries
        for message_id in done.octets_left:
            await repeat_step(store.write, partial(accept.forget_octets, message_id=message_id))
    return count


def delete_some(
    tx: ports.WriteTx, account: str, ids: Sequence[str], *, cancel: bool, now: datetime
) -> Step[Deleted, Sequence[str]]:
    """Delete up to `AT_ONCE` deliveries. The position of the next step is the list of the ids that are left."""
    tx.hold(ports.CHANGES_LOCK)
    going: list[Delivery] = []
    rest = list(ids)
    while rest and len(going) < AT_ONCE:
        found = _deliveries(tx, account, rest[0])
        going += found[: AT_ONCE - len(going)]
        if len(going) == AT_ONCE and going[-1] != found[-1]:
            break
        rest.pop(0)
    there = _held(tx, account, going)
    queued = [delivery for delivery, _ in there if delivery.status is Status.QUEUED]
    if queued and not cancel:
        raise errors.Conflict(
            f"Delivery {queued[0].id} waits for its next attempt. To delete it, cancel it in the same request "
            "(`cancel`)."
        )
    tx.cancel_queued(queued)
    return Step(_remove(tx, there, because="The mail was deleted on request.", now=now), rest or None)


def delete_dead(
    tx: ports.WriteTx, account: str, deliveries: Sequence[Delivery], *, because: str, now: datetime
) -> Deleted:
    """Delete those of an account's deliveries that are dead letters now. At most `AT_ONCE` deliveries are given.

    `because` is the reason in the trace, which remains if the message has other deliveries.
    """
    tx.hold(ports.CHANGES_LOCK)
    # A delivery with another status was redriven meanwhile.
    there = [(one, message) for one, message in _held(tx, account, deliveries) if one.status is Status.DEAD]
    return _remove(tx, there, because=because, now=now)


def _deliveries(tx: ports.ReadTx, account: str, wanted: str) -> list[Delivery]:
    """Return the deliveries that an id stands for. Raises `errors.NotFound`."""
    message_id, email_address_id = ids_in(wanted)
    if not email_address_id:
        found = tx.deliveries_of(account, message_id)
    else:
        delivery = tx.delivery(message_id, email_address_id)
        found = [delivery] if delivery and delivery.account == account else []
    if not found:
        raise errors.NotFound(f"Account {account} has no message or delivery {wanted}.")
    return found


def _held(tx: ports.WriteTx, account: str, deliveries: Sequence[Delivery]) -> Sequence[tuple[Delivery, Message]]:
    """Lock the messages of deliveries. Return the deliveries that still exist, as they are now, with their messages."""
    message_ids = sorted({delivery.message_id for delivery in deliveries})
    tx.hold_messages(message_ids)
    wanted = {delivery.id for delivery in deliveries}
    return [(one, message) for one, message in tx.deliveries_listed(account, message_ids) if one.id in wanted]


def _remove(tx: ports.WriteTx, there: Sequence[tuple[Delivery, Message]], *, because: str, now: datetime) -> Deleted:
    """Delete deliveries whose messages are locked, and the messages that have no delivery any more, and record it."""
    deliveries = [delivery for delivery, _ in there]
    tx.remove_deliveries(deliveries)
    for delivery in deliveries:
        event = DeletedEvent(address=delivery.address.text, account=delivery.account, because=because)
        tx.add_events(delivery.message_id, [TraceEvent(now, event)])
    tx.add_changes(
        [
            ports.NewChange(
                account=delivery.account,
                message_id=delivery.message_id,
                email_address_id=delivery.email_address_id,
                kind="deleted",
                at=now,
                event=ports.REMOVAL,
            )
            for delivery in deliveries
        ]
    )
    left = retention.end_messages(tx, {message.id: message.size for _, message in there}, now=now)
    return Deleted(len(there), left)
