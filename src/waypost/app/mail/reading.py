"""Find a message of an account, and read its bytes as the sender sent them."""

from waypost.app import ports
from waypost.domain import errors
from waypost.domain.mail.messages import Message

SIZE_LIMIT = 50 * 1024 * 1024
"""The maximum size of a message that is read as a whole, in bytes."""


def find(tx: ports.ReadTx, account: str, message_id: str) -> Message:
    """Return a message that has a delivery to the account. Raises `errors.NotFound` if there is no such message."""
    message = tx.message(account, message_id)
    if message is None:
        raise errors.NotFound(f"No message {message_id} was delivered to account {account}.")
    return message


def raw(tx: ports.ReadTx, account: str, message_id: str) -> bytes:
    """Return the bytes of a message that has a delivery to the account.

    Raises `errors.NotFound` if there is no such message or no copy of it was kept, and `errors.Conflict` if it is too
    large.
    """
    message = find(tx, account, message_id)
    if message.size > SIZE_LIMIT:
        raise errors.Conflict(f"Message {message_id} is larger than {SIZE_LIMIT // 1024 // 1024} MiB.")
    octets = tx.octets(message_id, start=0, limit=message.size)
    if len(octets) < message.size:
        raise errors.NotFound(f"Message {message_id} was delivered over its routes, and no copy of it was kept.")
    return octets
