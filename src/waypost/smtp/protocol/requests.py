"""The requests that a session makes to the server. A session cannot access the store or sockets itself."""

from msgspec import Struct

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.messages import Envelope
from waypost.smtp.protocol.parameters import Mail


class SenderGiven(Struct, frozen=True):
    """A request to decide whether a message may begin. The session makes it only if faults may be injected."""

    mail: Mail
    helo: str = ""


class ContentOffered(Struct, frozen=True):
    """A request to decide whether the client may send the content of a message. The session makes it only if faults
    may be injected.
    """

    recipients: tuple[Address, ...]
    sender: str = ""
    helo: str = ""


class RecipientGiven(Struct, frozen=True):
    """A request to check whether the server accepts mail for an address."""

    address: Address
    sender: str = ""
    """The sender's address from MAIL FROM, without the angle brackets."""
    helo: str = ""


class PieceReceived(Struct, frozen=True):
    """A request to store a piece of a large message. The message may never be completed."""

    octets: bytes
    start: int
    """The offset of the piece in the message, in bytes. An offset of zero means that a new message begins."""


class MessageReceived(Struct, frozen=True):
    """A request to accept a complete message. A positive answer means that the message is on disk."""

    envelope: Envelope
    recipients: tuple[Address, ...]
    raw: bytes
    """The bytes of the message that have not been stored as pieces."""
    start: int
    """The number of bytes that have already been stored as pieces; zero for nearly all messages."""
    header: bytes


class TlsWanted(Struct, frozen=True):
    """A request to perform the TLS handshake. After a successful handshake, the server calls `tls_started`; otherwise
    it closes the connection.
    """


Request = SenderGiven | RecipientGiven | ContentOffered | PieceReceived | MessageReceived | TlsWanted
