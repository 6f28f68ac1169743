"""Delete mail that is older, or takes up more space, than the retention rules (`domain.mail.retention`) allow.

A purge uses many small transactions, so that it does not delay mail and API calls. A purge can be stopped after any
transaction. Deleting a delivery removes the delivery's row from the store. When the last delivery of a message is
deleted, the message's trace and bytes are deleted too.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import accept
from waypost.app.steps import Step, repeat_step, run_steps
from waypost.domain.directory.addresses import Address
from waypost.domain.mail import retention
from waypost.domain.mail.retention import Delivered, Inbox, Rule

Done = TypeVar("Done")
Position = TypeVar("Position")

INBOXES_AT_ONCE = 100
"""The maximum number of inboxes that one read lists."""

READ_AT_ONCE = 500
"""The maximum number of deliveries that one read returns, so that the read does not delay other work for long."""

PURGED_AT_ONCE = 100
"""The maximum number of deliveries that one transaction deletes."""

OCTETS_AT_ONCE = 2 * 1024 * 1024
"""The maximum number of message bytes that one transaction deletes. Bytes beyond this limit are deleted in later
transactions.
"""


class Purge(Struct, frozen=True):
    """The totals of the mail that was deleted, or would be deleted, from an inbox."""

    inbox: Inbox
    deliveries: int = 0
    octets: int = 0
    """The total size of the deleted messages in bytes, as sent after DATA. This total also includes messages that are
    still in another inbox, although the bytes of these messages stay on the disk.
    """

    def and_also(self, gone: Sequence[Delivered]) -> "Purge":
        """Return new totals that also include these deleted deliveries."""
        octets = sum(delivery.size for delivery in gone if delivery.kept)
        return Purge(self.inbox, self.deliveries + len(gone), self.octets + octets)


class Due(Struct, frozen=True):
    """The deliveries to delete in one part of an inbox, and the cursor for the next part."""

    going: Sequence[Delivered]
    before: str
    """The cursor for the next part of the inbox; empty after the last part."""
    newer: int
    """The number of bytes in the newer parts of the inbox, as `domain.mail.retention.to_delete` counts them."""


def addresses_with_mail(tx: ports.ReadTx, *, after: Inbox | None, limit: int = INBOXES_AT_ONCE) -> list[Inbox]:
    """Return a page of the inboxes that have mail, including the inboxes of deleted email addresses."""
    return tx.inboxes(after=after, limit=limit)


def due(
    tx: ports.ReadTx,
    rules: Sequence[Rule],
    inbox: Inbox,
    *,
    now: datetime,
    last: Due | None = None,
    limit: int = READ_AT_ONCE,
) -> Due:
    """Return the deliveries to delete in the next part of an inbox: the part after `last`, or the newest part if `last`
    is None.
    """
    rule = retention.find(rules, Address(inbox.address_key, inbox.address_key), _instance_of(tx, inbox))
    before = last.before if last else retention.first_cursor(rule, now) if rule else ""
    if rule is None or not before:
        return Due((), "", 0)
    seen = tx.delivered(inbox, before=before, limit=limit)
    going, newer = retention.to_delete(rule, seen, now=now, newer=last.newer if last else 0)
    return Due(going, seen[-1].message_id if len(seen) == limit else "", newer)


def purge_some(
    tx: ports.WriteTx, inbox: Inbox, going: Sequence[Delivered], *, now: datetime
) -> tuple[list[Delivered], list[str]]:
    """Delete some deliveries from an inbox. Returns the deleted deliveries. A delivery that has been put back into the
    queue is not deleted.

    This function also returns the ids of deleted messages whose bytes are not deleted yet. The caller should pass these
    ids to `accept.forget_octets`, which deletes the bytes. If the caller does not delete the bytes, they are deleted
    later, together with the pieces of incomplete messages.
    """
    of_message = {delivery.message_id: delivery for delivery in going}
    gone = tx.remove_delivered(inbox, sorted(of_message))
    left = end_messages(tx, {message_id: of_message[message_id].size for message_id in gone}, now=now)
    return [of_message[message_id] for message_id in gone], left


def end_messages(tx: ports.WriteTx, sizes: Mapping[str, int], *, now: datetime) -> list[str]:
    """Delete those messages, given with their sizes, that have no delivery any more, and the bytes that no delivery
    needs. The caller has locked the messages and removed deliveries.

    Return the ids of deleted messages whose bytes are not deleted yet, like `purge_some`.
    """
    ended = tx.end_messages([*sizes], now=now)
    left, octets = [], 0
    for message_id, size in sizes.items():
        if message_id not in ended:
            tx.remove_octets_if_spent(message_id)
        elif octets + size > OCTETS_AT_ONCE:
            left.append(message_id)
        else:
            octets += size
            tx.remove_octets(message_id)
    return left


async def plan(store: ports.Store, rules: Sequence[Rule], *, now: datetime) -> AsyncIterator[Purge]:
    """Yield the totals of the mail that `purge` would delete now from each inbox, without deleting anything."""
    async for inbox in _inboxes(store):
        whole = Purge(inbox)
        async for part in _parts(store, rules, inbox, now=now):
            whole = whole.and_also(part)
        if whole.deliveries:
            yield whole


async def purge(store: ports.Store, rules: Sequence[Rule], *, now: datetime) -> AsyncIterator[Purge]:
    """Delete all mail that exceeds the limits of the retention rules, one inbox at a time. Yields the totals of the
    deleted mail for each inbox.
    """
    async for inbox in _inboxes(store):
        whole = Purge(inbox)
        async for part in _parts(store, rules, inbox, now=now):
            # Delete the oldest mail first, so that a purge that is stopped early leaves few gaps.
            for end in range(len(part), 0, -PURGED_AT_ONCE):
                step = part[max(0, end - PURGED_AT_ONCE) : end]
                gone, left = await store.write(partial(purge_some, inbox=inbox, going=step, now=now))
                whole = whole.and_also(gone)
                for message_id in left:
                    await repeat_step(store.write, partial(accept.forget_octets, message_id=message_id))
        if whole.deliveries:
            yield whole


async def _inboxes(store: ports.Store) -> AsyncIterator[Inbox]:
    def step(tx: ports.ReadTx, after: Inbox | None, *, limit: int) -> Step[Sequence[Inbox], Inbox]:
        found = addresses_with_mail(tx, after=after, limit=limit)
        return Step(found, found[-1] if found else None)

    async for found in _run_reads(store, step, INBOXES_AT_ONCE, what="the addresses with mail"):
        for inbox in found:
            yield inbox


async def _parts(
    store: ports.Store, rules: Sequence[Rule], inbox: Inbox, *, now: datetime
) -> AsyncIterator[Sequence[Delivered]]:
    """Yield the deliveries to delete in an inbox, one part at a time, starting with the newest part."""

    def step(tx: ports.ReadTx, last: Due | None, *, limit: int) -> Step[Due, Due]:
        part = due(tx, rules, inbox, now=now, last=last, limit=limit)
        return Step(part, part if part.before else None)

    async for part in _run_reads(store, step, READ_AT_ONCE, what="the mail of an address"):
        if part.going:
            yield part.going


def _run_reads(
    store: ports.Store, step: Callable[..., Step[Done, Position]], limit: int, *, what: str
) -> AsyncIterator[Done]:
    """Yield the results of read steps, and halve the row limit whenever a slow store does not finish a step in time.

    Raises `ports.TookTooLong` if the store cannot read even one row in time.
    """
    allowed = limit

    async def run(read: Callable[[ports.ReadTx], Step[Done, Position]]) -> Step[Done, Position]:
        nonlocal allowed
        allowed = limit
        while True:
            try:
                return await store.long_read(read, what=what)
            except ports.TookTooLong:
                if allowed == 1:
                    raise
                allowed //= 2

    return run_steps(run, lambda tx, position: step(tx, position, limit=allowed))


def _instance_of(tx: ports.ReadTx, inbox: Inbox) -> str | None:
    """Return the id of the instance to which the inbox's address now belongs. Return None if the address was deleted or
    now belongs to another account.
    """
    owner = tx.email_address_by_key(inbox.address_key)
    return owner.instance_id if owner and owner.account == inbox.account else None
