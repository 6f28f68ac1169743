"""Redrive dead letters, and forward an alias's mail again if it was not forwarded correctly."""

from collections.abc import Sequence
from datetime import datetime

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import accept, reading
from waypost.app.mail.deliveries import happened, tell
from waypost.app.queue.waiting import MAX_COMPARED
from waypost.app.steps import Step
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail import routes, routing
from waypost.domain.mail.delivery import Delivery, Reason, Status, ids_in
from waypost.domain.mail.messages import Message
from waypost.domain.mail.trace_events import RedrivenEvent

AT_ONCE = 100
"""The maximum number of deliveries that one transaction redrives; a longer transaction would delay other writes."""


def dead_letters(
    tx: ports.ReadTx,
    account: str,
    *,
    address: addresses.Address | None = None,
    since: datetime | None = None,
    given_up_before: datetime | None = None,
    destination: str | None = None,
    after: str = "",
    limit: int = AT_ONCE,
) -> list[ports.DeadLetter]:
    """Return up to `limit` dead letters of an account, sorted by id, that meet all conditions that are given.

    `destination` can be in the form that people see, with "…" in place of secrets. Raises `errors.Invalid` if several
    destinations are shown like this.
    """
    if destination is not None:
        destination = _meant(tx, account, destination)
    return tx.dead_letters(
        account,
        address_key=address.key if address else None,
        since=since,
        given_up_before=given_up_before,
        destination=destination,
        after=after,
        limit=limit,
    )


def _meant(tx: ports.ReadTx, account: str, destination: str) -> str:
    """Return the exact destination of dead letters that people see as `destination`. Raises `errors.Invalid`."""
    if "…" not in destination:
        return destination
    known = tx.dead_destinations(account, limit=MAX_COMPARED)
    found = [one for one in known if destination in {one, routes.shown(one)}]
    if len(found) > 1:
        raise errors.Invalid(f"{destination} stands for {len(found)} destinations. Give the exact one.")
    return found[0] if found else destination


COUNTED_UP_TO = 10_000
"""The maximum number of dead letters that are counted."""


def count_dead_letters(
    tx: ports.ReadTx, account: str, *, address: addresses.Address | None = None, since: datetime | None = None
) -> int:
    """Return the number of dead letters of an account, at most `COUNTED_UP_TO`."""
    key = address.key if address else None
    return tx.count_dead_letters(account, address_key=key, since=since, up_to=COUNTED_UP_TO)


def redrive(
    tx: ports.WriteTx,
    account: str,
    *,
    ids: Sequence[str] = (),
    address: addresses.Address | None = None,
    since: datetime | None = None,
    after: str = "",
    now: datetime,
) -> Step[int, str]:
    """Redrive the dead letters with the given `ids`.

    If `ids` is empty, redrive the first matching dead letters after the cursor `after`. This function is a step for
    `run_steps`. A redriven dead letter is attempted like a new delivery, over the route that applies at the time of the
    attempt. Raises `errors.NotFound`, and redrives nothing, if an id does not belong to a dead letter of the account.
    """
    because = "the dead letter was redriven on request"
    if ids:
        locked = [(one, tx.lock_delivery(*ids_in(one))) for one in dict.fromkeys(ids)]
        for delivery in [_dead_letter(found, account, delivery_id) for delivery_id, found in locked]:
            _redrive_delivery(tx, delivery, now, because)
        return Step(len(set(ids)), None)
    found = [one.delivery for one in dead_letters(tx, account, address=address, since=since, after=after)]
    count = 0
    for seen in found:
        held = tx.lock_delivery(seen.message_id, seen.email_address_id)
        if held and held.status is Status.DEAD:  # otherwise another call has redriven it
            _redrive_delivery(tx, held, now, because)
            count += 1
    return Step(count, found[-1].id if len(found) == AT_ONCE else None)


def replay(
    tx: ports.WriteTx,
    deployment: Deployment,
    account: str,
    alias: addresses.Address,
    *,
    since: datetime,
    before: str | None = None,
    now: datetime,
) -> Step[int, str]:
    """Forward an alias's mail again: the messages that it has received since `since`, newest first, starting before the
    cursor `before`.

    This function is a step for `run_steps`. Mail that was never forwarded is now delivered to the primary. Mail that
    was already sent to the primary over a route is sent again. Mail that is already in the primary's inbox, or in the
    queue, is skipped. Raises `errors.NotFound` if the account does not own the address, and `errors.Conflict` if the
    address is not an alias.
    """
    forwarded = _destination(tx, deployment, account, alias)
    found = tx.deliveries_at(account, alias.key, after=before, limit=AT_ONCE)
    count = 0
    for kept, message in found:
        if message.received_at + accept.LONGEST_TRANSFER < since:
            return Step(count, None)
        if message.received_at < since:  # ids are in the order in which transfers began, not ended
            continue
        count += _forward_again(tx, deployment, kept, message, forwarded=forwarded, now=now)
    return Step(count, found[-1][1].id if len(found) == AT_ONCE else None)


def forward_again(
    tx: ports.WriteTx, deployment: Deployment, account: str, message_id: str, *, now: datetime
) -> Sequence[str]:
    """Forward one message again from each alias whose inbox has it, and return the addresses of the primaries to which
    it was forwarded. As in `replay`, a primary is left out if the message is already in its inbox or in the queue.

    Raises `errors.NotFound` if the account does not have the message, and `errors.Conflict` if the message is in the
    inbox of no alias.
    """
    message = reading.find(tx, account, message_id)
    kept = [delivery for delivery in tx.deliveries_of(account, message_id) if delivery.kept]
    owners = tx.owners([delivery.address.key for delivery in kept]).found
    aliases = [delivery for delivery in kept if owners.get(delivery.address.key, (None, None))[1]]
    if not aliases:
        raise errors.Conflict(f"Message {message_id} cannot be forwarded, because it is in the inbox of no alias.")
    again = []
    for delivery in aliases:
        forwarded = _destination(tx, deployment, account, delivery.address)
        if _forward_again(tx, deployment, delivery, message, forwarded=forwarded, now=now):
            again.append(forwarded.email_address.address.text)
    return again


def _destination(
    tx: ports.WriteTx, deployment: Deployment, account: str, alias: addresses.Address
) -> routing.Destination:
    """Return where an alias's mail is forwarded now. Raises the errors of `replay`."""
    own, primary, routes_revision = _linked(tx, account, alias)
    in_force = deployment.routes_in_force(tx, routes_revision)
    plan = routing.plan([routing.Recipient(alias, own, primary)], in_force)
    (forwarded,) = [one for one in plan.destinations if one.reason is Reason.FORWARDED]
    return forwarded


def primary_of(tx: ports.ReadTx, account: str, alias: addresses.Address) -> EmailAddress:
    """Return the email address to which `replay` forwards the mail of an alias. Raises as `replay`."""
    _, primary, _ = _linked(tx, account, alias)
    return primary


def _linked(tx: ports.ReadTx, account: str, alias: addresses.Address) -> tuple[EmailAddress, EmailAddress, str]:
    """Return an alias, its primary, and the revision of the stored routes. Raises as `replay`."""
    owners = tx.owners([alias.key])
    own, primary = owners.found.get(alias.key, (None, None))
    if own is None or own.account != account:
        raise errors.NotFound(f"There is no email address {alias} in account {account}.")
    if primary is None:
        raise errors.Conflict(f"There is no address to forward the mail to, because {alias} is not an alias.")
    return own, primary, owners.routes_revision


def _forward_again(
    tx: ports.WriteTx,
    deployment: Deployment,
    kept: Delivery,
    message: Message,
    *,
    forwarded: routing.Destination,
    now: datetime,
) -> bool:
    """Forward a message from the alias's inbox again, unless the primary already has it in the inbox or in the queue.
    Returns whether the message was forwarded.
    """
    because = f"the mail that {kept.address} had kept was forwarded again"
    tx.lock_delivery(message.id, kept.email_address_id)  # so that concurrent replays run in turn
    if tx.has_plan(message.id):  # the plan may include the primary's delivery, which will then be queued anyway
        return False
    primary = forwarded.email_address
    # By its address, not by its id, because its inbox also has the mail of a deleted email address with this address.
    present = tx.lock_delivery_at(message.id, primary.account, primary.address.key)
    if present is None:
        delivery = accept.delivery_of(message, accept.planned_delivery(forwarded), deployment)
        tx.add_delivery(delivery)
        if delivery.status is Status.QUEUED:
            tx.enqueue(delivery, now=now)
        tell(tx, delivery, RedrivenEvent(address=delivery.address.text, because=because), now=now)
        return True
    if not present.destination or present.status is Status.QUEUED:
        return False
    _redrive_delivery(tx, present, now, because)
    return True


def dead_letter(tx: ports.ReadTx, account: str, delivery_id: str) -> Delivery:
    """Return a dead letter of an account. Raises `errors.NotFound`."""
    return _dead_letter(tx.delivery(*ids_in(delivery_id)), account, delivery_id)


def _dead_letter(found: Delivery | None, account: str, delivery_id: str) -> Delivery:
    if found is None or found.account != account or found.status is not Status.DEAD:
        raise errors.NotFound(f"There is no dead letter {delivery_id} in account {account}.")
    return found


def _redrive_delivery(tx: ports.WriteTx, delivery: Delivery, now: datetime, because: str) -> None:
    redriven = RedrivenEvent(address=delivery.address.text, destination=delivery.destination, because=because)
    happened(tx, delivery, redriven, now=now)
    tx.enqueue(delivery, now=now)
