"""The requests of a session to the server: a session has no access to addresses or disks."""

from dataclasses import dataclass

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.messages import Envelope


@dataclass(frozen=True, slots=True)
class RecipientGiven:
    """Request: is mail for this address accepted?"""

    address: Address
    sender: str = ""
    """The sender: MAIL FROM, without the angle brackets."""
    helo: str = ""


@dataclass(frozen=True, slots=True)
class PieceReceived:
    """Request: store this piece of a large message, which may never be completed."""

    octets: bytes
    start: int
    """Its place in the message; zero for the first piece of a new one."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Request: accept this message. Yes means that it is on disk."""

    envelope: Envelope
    recipients: tuple[Address, ...]
    raw: bytes
    """The octets after those of the pieces."""
    start: int
    """The octets that were passed on in pieces; zero for nearly all messages."""
    header: bytes


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """Request: make the TLS handshake. It is answered by `tls_started`, or the connection is closed."""


Request = RecipientGiven | PieceReceived | MessageReceived | TlsWanted
