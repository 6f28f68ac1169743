"""One message for one email address: why it is there, and how far it has come."""

from dataclasses import dataclass
from enum import StrEnum

from waypost.domain import addresses


class Reason(StrEnum):
    """Why a message is delivered to an email address."""

    DIRECT = "direct"
    """The sender addressed it."""
    FORWARDED = "forwarded"
    """The sender addressed its alias."""


class Status(StrEnum):
    """How far a delivery has come. The built-in inbox is reached in the transaction that accepts the mail."""

    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery. The copy that arrives is `trace_header` followed by the message's raw bytes, untouched."""

    message_id: str
    email_address_id: str
    account: str
    address: addresses.Address
    reason: Reason
    sent_to: str
    """The recipient as the sender wrote it: this address, or the alias that forwards here."""
    via: str | None
    """The alias that the message came through, or None if it was addressed directly."""
    status: Status
    trace_header: bytes
