"""Read the bytes of a message as the sender sent them."""

from waypost.app import ports
from waypost.domain import errors

SIZE_LIMIT = 50 * 1024 * 1024
"""The maximum size of a message that is read as a whole, in bytes."""


def raw(tx: ports.ReadTx, account: str, message_id: str) -> bytes:
    """Return the bytes of a message that has a delivery to the account.

    Raises `errors.NotFound` if there is no such message or no copy of it was kept, and `errors.Conflict` if it is too
    large.
    """
    message = tx.message(account, message_id)
    if message is None:
        raise errors.NotFound(f"No message {message_id} was delivered to account {account}.")
    if message.size > SIZE_LIMIT:
        raise errors.Conflict(f"Message {message_id} is larger than {SIZE_LIMIT // 1024 // 1024} MiB.")
    octets = tx.octets(message_id, start=0, limit=message.size)
    if len(octets) < message.size:
        raise errors.NotFound(f"Message {message_id} was delivered over its routes, and no copy of it was kept.")
    return octets
