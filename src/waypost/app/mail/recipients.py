"""Find each recipient's email address, by the recipient's whole address or by the address without its tag."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.mail.routing import Recipient


class Found(Struct, frozen=True):
    """The result of a lookup of a message's recipients."""

    present: list[Recipient]
    """The recipients that have an email address on this server, in the order in which the caller passed them."""
    unknown: list[Address]
    """The recipients that have no email address on this server."""
    routes_revision: str
    """The revision of the routes, to pass to `ports.ReadTx.stored_routes`."""


def find_recipients(tx: ports.ReadTx, deployment: Deployment, recipients: Sequence[Address]) -> Found:
    """Look up all recipients of a message in one query."""
    owners = find_owners(tx, deployment.subaddressed, recipients)
    return assign(recipients, owners, deployment.subaddressed)


def find_owners(tx: ports.ReadTx, subaddressed: Collection[str], recipients: Sequence[Address]) -> ports.Owners:
    """Look up the owners of all keys of the recipients in one query."""
    return tx.owners([key for address in recipients for key in addresses.owner_keys(address, subaddressed)])


def assign(recipients: Sequence[Address], owners: ports.Owners, subaddressed: Collection[str]) -> Found:
    """Assign the recipients to their email addresses. A recipient can have several keys (`addresses.owner_keys`). The
    first key that belongs to an email address determines the recipient's email address.
    """
    found = Found([], [], owners.routes_revision)
    for address in recipients:
        for key in addresses.owner_keys(address, subaddressed):
            if key in owners.found:
                found.present.append(Recipient(address, *owners.found[key]))
                break
        else:
            found.unknown.append(address)
    return found


def find_owner(tx: ports.ReadTx, deployment: Deployment, address: Address) -> EmailAddress | None:
    """Return the email address that receives the mail for an address. Return None if there is no such email address."""
    for key in addresses.owner_keys(address, deployment.subaddressed):
        if found := tx.email_address_by_key(key):
            return found
    return None
