"""Read the changes to the mail of an account, in the order in which they were noted (`noting`)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail.wanted import NotesWanted
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.messages import Message

T = TypeVar("T")


class Changed(Struct, frozen=True):
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


class Listed(Struct, frozen=True):
    """A change, with what a list shows of its message now."""

    number: int
    message_id: str
    message: ports.ListedMessage | None
    """None if the account has no delivery of the message any more."""


class Many(Struct, frozen=True):
    """So many changes that it is cheaper to read a list again than to read what changed."""

    number: int
    """The number of the last of the changes."""


MANY = 50
"""The maximum number of changes that are read for lists."""

DELIVERIES_OF_LISTS = 1_000
"""The maximum number of deliveries that are read for lists, because a message can have very many."""


def listed_after(tx: ports.ReadTx, account: str, number: int, *, limit: int) -> Sequence[Listed] | Sequence[Many]:
    """Return up to `limit` changes to the mail of an account with numbers greater than `number`, for lists of messages.
    If there are more than `MANY`, stop after the last of them.
    """
    found = tx.changes(account, after=number, limit=min(limit, MANY + 1))
    if len(found) > MANY:
        return [Many(tx.last_change(account))]
    ids = sorted({change.message_id for change in found})
    listed = tx.listed(account, ids, limit=DELIVERIES_OF_LISTS)
    if listed is None:
        return [Many(found[-1].number)]
    messages = {message.id: message for message in listed}
    return [Listed(change.number, change.message_id, messages.get(change.message_id)) for change in found]


class Followed:
    """Reads changes for clients that follow them. As long as there are such clients, mail is noted."""

    def __init__(self, store: ports.Store, notes: NotesWanted) -> None:
        self._store = store
        self._notes = notes

    async def read(self, use_case: Callable[..., T], account: str, number: int, limit: int) -> T:
        """Return up to `limit` changes of an account after a number, read by `after` or `listed_after`."""
        self._notes.renew()
        given = partial(use_case, account=account, number=number, limit=limit)
        return await self._store.long_read(given, what="the changes to mail", account=account)

    async def bounds(self) -> tuple[int, int]:
        """Return the numbers of the first and the last change that are kept, of all accounts; zeros if there are
        none.
        """
        return await self._store.long_read(lambda tx: tx.change_bounds(), what="the changes to mail")
