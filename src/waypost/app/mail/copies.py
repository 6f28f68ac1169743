"""Read the copy of a message that was delivered to an account."""

from collections.abc import AsyncIterator
from functools import partial

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import trace
from waypost.domain import errors

PART = 256 * 1024
"""The number of bytes of a message that are read at once, to send it to a client."""


class Gone(Exception):
    """The rest of a message was deleted while it was read."""


class Contents(Struct, frozen=True):
    """The beginning of a copy of a message."""

    copy: trace.Copy
    octets: bytes
    """The first bytes that the client sent; all of them if the message is not longer than the limit."""

    @property
    def is_whole(self) -> bool:
        """Whether `octets` are all bytes of the message."""
        return len(self.octets) == self.copy.size

    @property
    def raw(self) -> bytes:
        """The trace header, and then `octets`."""
        return self.copy.trace_header + self.octets


def contents(tx: ports.ReadTx, account: str, message_id: str, *, address_key: str = "", limit: int) -> Contents:
    """Return up to `limit` bytes of the copy of a message that was delivered to an address of an account. If
    `address_key` is empty, the copy is that of the first delivery.

    Raises `errors.NotFound` if the account has no such delivery, or if the store no longer has the bytes.
    """
    message = tx.message(account, message_id)
    deliveries = tx.deliveries_of(account, message_id) if message else []
    wanted = [one for one in deliveries if address_key in ("", one.address.key)]
    if message is None or not wanted:
        raise errors.NotFound(f"No such copy of message {message_id} was delivered to account {account}.")
    octets = tx.octets(message_id, start=0, limit=min(limit, message.size))
    if message.size and not octets:
        raise errors.NotFound(f"Message {message_id} was delivered over its routes, and no copy of it was kept.")
    if len(octets) < min(limit, message.size):
        raise errors.NotFound(f"Message {message_id} is being deleted.")
    return Contents(trace.Copy(message_id, wanted[0].trace_header, message.size), octets)


async def parts(store: ports.Store, account: str, copy: trace.Copy, first: bytes) -> AsyncIterator[bytes]:
    """Yield a copy of a message part by part. `first` are the first bytes that the client sent.

    Even for a slow client, the server keeps only one part in memory, and does not keep a transaction open. Raises
    `Gone`, and the exceptions of the store.
    """
    yield copy.trace_header + first
    for start in range(len(first), copy.size, PART):
        octets = partial(_octets, message_id=copy.message_id, start=start)
        part = await store.long_read(octets, what="the bytes of the message", account=account)
        if len(part) < min(PART, copy.size - start):
            raise Gone
        yield part


def _octets(tx: ports.ReadTx, *, message_id: str, start: int) -> bytes:
    return tx.octets(message_id, start=start, limit=PART)
