"""Read the copy of a message that was delivered to an account."""

from dataclasses import dataclass

from waypost.app import ports
from waypost.app.mail import trace
from waypost.domain import errors


@dataclass(frozen=True, slots=True)
class Contents:
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
