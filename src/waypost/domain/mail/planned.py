"""Deliveries that are planned before they are stored, so that a message to many recipients can be stored in batches."""

from typing import NamedTuple

from msgspec import Struct

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.delivery import Reason


class PlannedDelivery(NamedTuple):
    """A delivery as it was decided when the message was accepted.

    A planned delivery contains all data that is needed to store the delivery, its trace header and its first trace
    event. So the delivery stays the same even if the directory or the routes change before it is stored. The fields are
    stored in this order, so add a new field only at the end, and with a default.
    """

    email_address_id: str
    account: str
    address: Address
    reason: Reason
    sent_to: str
    """The recipient's address as the sender wrote it."""
    alias_id: str = ""
    """The id of the alias that forwards the message; empty for a direct delivery."""
    alias: str = ""
    """The address of the alias that forwards the message; empty for a direct delivery."""
    destination: str = ""
    """The destination of the route; empty for the inbox."""
    route: str = ""
    """The `match` of the route; empty for the inbox."""
    kept: bool = True
    """Whether the inbox keeps a copy."""
    because: str = ""
    """The reason for the delivery, as the trace shows it."""
    also_for: str = ""
    """The alias that the sender also addressed; see `Delivery.also_for`."""


class PlannedPart(Struct, frozen=True):
    """A batch of one message's planned deliveries, to be stored in one transaction."""

    deliveries: tuple[PlannedDelivery, ...]
    results: tuple[str, ...] = ()
    """The lines of the `Authentication-Results` field that each trace header contains."""
