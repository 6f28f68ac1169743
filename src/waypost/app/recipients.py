"""Which email addresses the recipients of mail are: by their own address, or by subaddressing where it is set."""

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.domain import addresses
from waypost.domain.addresses import Address
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.routing import Recipient


@dataclass(frozen=True, slots=True)
class Found:
    """The recipients of a message, at one moment."""

    present: list[Recipient]
    """Those that are an email address here, in the order in which they were asked for."""
    unknown: list[Address]
    """The others."""
    routes_revision: str
    """Which routes hold at this moment, for `ports.ReadTx.stored_routes`."""


def find_recipients(tx: ports.ReadTx, deployment: Deployment, recipients: Sequence[Address]) -> Found:
    """Look up all recipients of a message at once."""
    keys = {address: addresses.owner_keys(address, deployment.subaddressed) for address in recipients}
    owners = tx.owners([key for candidates in keys.values() for key in candidates])
    present, unknown = [], []
    for address in recipients:
        key = next((key for key in keys[address] if key in owners.found), None)
        if key is None:
            unknown.append(address)
        else:
            present.append(Recipient(address, *owners.found[key]))
    return Found(present, unknown, owners.routes_revision)


def find_owner(tx: ports.ReadTx, deployment: Deployment, address: Address) -> EmailAddress | None:
    """The email address that mail for this address would be for; None if there is none."""
    found = (tx.email_address_by_key(key) for key in addresses.owner_keys(address, deployment.subaddressed))
    return next(filter(None, found), None)
