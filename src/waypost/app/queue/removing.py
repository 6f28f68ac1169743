"""Remove dead letters, on request or because of their age.

A removed dead letter cannot be redriven. Many small transactions remove them, so that they do not delay mail and API
calls. If a removal fails on the way, the completed steps remain in effect.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import deleting
from waypost.app.mail.deleting import Deleted
from waypost.app.queue import redrive
from waypost.app.steps import Step, run_steps
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Delivery

AT_ONCE = deleting.AT_ONCE
"""The maximum number of dead letters that one transaction removes."""

ON_REQUEST = "The dead letter was removed on request."

TOO_OLD = "The dead letter was older than the retention period of dead letters."


class Selection(Struct, frozen=True, kw_only=True):
    """Dead letters of an account: those with the given ids, or those that meet all conditions that are given."""

    ids: Sequence[str] = ()
    address: addresses.Address | None = None
    since: datetime | None = None
    """Only those of messages that were received at this time or later."""
    given_up_before: datetime | None = None
    destination: str | None = None


async def count(store: ports.Store, account: str, selection: Selection) -> int:
    """Return the number of the selected dead letters. Raises as `remove`."""

    def step(tx: ports.ReadTx, after: str | None) -> Step[int, str]:
        found = _found(tx, account, selection, after or "")
        return Step(len(found), _next(found, selection))

    run = partial(store.long_read, what="the dead letters", account=account)
    return sum([done async for done in run_steps(run, step)])


async def remove(
    store: ports.Store, account: str, selection: Selection, *, clock: ports.Clock, because: str = ON_REQUEST
) -> int:
    """Remove the selected dead letters, and return how many were removed. A message is deleted with its last delivery.

    Raises `errors.NotFound`, and removes nothing, if an id does not belong to a dead letter of the account. Raises
    `errors.Invalid` for a destination that stands for several.
    """

    def step(tx: ports.WriteTx, after: str | None) -> Step[Deleted, str]:
        found = _found(tx, account, selection, after or "")
        gone = deleting.delete_dead(tx, account, found, because=because, now=clock())
        return Step(gone, _next(found, selection))

    return await deleting.run(store, step)


async def remove_old(store: ports.Store, age: timedelta, *, clock: ports.Clock) -> AsyncIterator[int]:
    """Remove the dead letters of all accounts that were given up longer than `age` ago. Yield how many were removed
    for each account that had such dead letters.
    """
    selection = Selection(given_up_before=clock() - age)
    account: str | None = ""
    while account is not None:
        account = await store.read(partial(_account_after, after=account))
        if account and (removed := await remove(store, account, selection, clock=clock, because=TOO_OLD)):
            yield removed


def _account_after(tx: ports.ReadTx, after: str) -> str | None:
    return tx.account_with_dead_letters(after=after)


def _found(tx: ports.ReadTx, account: str, selection: Selection, after: str) -> Sequence[Delivery]:
    """Return the next dead letters of a selection. Raises as `remove`."""
    if selection.ids:
        return [redrive.dead_letter(tx, account, one) for one in dict.fromkeys(selection.ids)]
    letters = redrive.dead_letters(
        tx,
        account,
        address=selection.address,
        since=selection.since,
        given_up_before=selection.given_up_before,
        destination=selection.destination,
        after=after,
        limit=AT_ONCE,
    )
    return [letter.delivery for letter in letters]


def _next(found: Sequence[Delivery], selection: Selection) -> str | None:
    """Return the position after these dead letters; None if there are no more."""
    return found[-1].id if len(found) == AT_ONCE and not selection.ids else None
