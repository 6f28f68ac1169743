"""Describes deliveries that are decided before they are stored, so that a message with many recipients is stored in
parts.
"""

from dataclasses import dataclass

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.delivery import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDelivery:
    """A delivery as it was decided when the message was accepted.

    It contains everything that the delivery, its trace header and its first trace event need. So the delivery stays the
    same if the directory or the routes change before it is stored.
    """

    email_address_id: str
    account: str
    address: Address
    reason: Reason
    sent_to: str
    """The recipient as the sender wrote it."""
    alias_id: str = ""
    """The id of the alias that forwards the message; empty for a direct delivery."""
    alias: str = ""
    """The address of that alias."""
    destination: str = ""
    """The target of the route; empty for the inbox."""
    route: str = ""
    """The match of the route; empty for the inbox."""
    kept: bool = True
    """Whether the inbox keeps a copy."""
    because: str = ""
    """The reason for the delivery, as the trace shows it."""
    also_for: str = ""
    """See `Delivery.also_for`."""


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """Planned deliveries of one message that one transaction stores."""

    deliveries: tuple[PlannedDelivery, ...]
    results: tuple[str, ...] = ()
    """The lines of the `Authentication-Results` field, which each trace header contains."""
