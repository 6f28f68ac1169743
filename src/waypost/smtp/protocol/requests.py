"""The requests that a session makes to the server, because a session itself cannot access the store or sockets."""

from dataclasses import dataclass

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.messages import Envelope


@dataclass(frozen=True, slots=True)
class RecipientGiven:
    """A request to check whether the server accepts mail for an address."""

    address: Address
    sender: str = ""
    """The sender's address from MAIL FROM, without the angle brackets."""
    helo: str = ""


@dataclass(frozen=True, slots=True)
class PieceReceived:
    """A request to store a piece of a large message, which may never be completed."""

    octets: bytes
    start: int
    """The offset of the piece in the message, in bytes. An offset of zero means that a new message begins."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A request to accept a complete message. A positive answer means that the message is on disk."""

    envelope: Envelope
    recipients: tuple[Address, ...]
    raw: bytes
    """The bytes of the message that follow the bytes that were passed on in pieces."""
    start: int
    """The number of bytes that were passed on in pieces, which is zero for nearly all messages."""
    header: bytes


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """A request to perform the TLS handshake. After the handshake, the server calls `tls_started`, or closes the
    connection.
    """


Request = RecipientGiven | PieceReceived | MessageReceived | TlsWanted
