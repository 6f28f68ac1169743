"""What a session asks of the house, because it knows neither addresses nor disks."""

from dataclasses import dataclass

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.messages import Envelope


@dataclass(frozen=True, slots=True)
class RecipientGiven:
    """Question: may mail for this address come in?"""

    address: Address
    sender: str = ""
    """Whose mail it is: MAIL FROM, without the angle brackets."""
    helo: str = ""


@dataclass(frozen=True, slots=True)
class PieceReceived:
    """Question: is this piece of a large message kept? It may never become a whole one."""

    octets: bytes
    start: int
    """Its place in the message; zero for the first piece of a new one."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Question: is this message ours now? Yes means that it is on disk."""

    envelope: Envelope
    recipients: tuple[Address, ...]
    raw: bytes
    """The octets after those of the pieces."""
    start: int
    """How many octets came in pieces; zero for nearly all messages."""
    header: bytes


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """Question: has the handshake been made? It is answered by `tls_started`, or by hanging up."""


Question = RecipientGiven | PieceReceived | MessageReceived | TlsWanted
