"""The email address as a resource: an address that an instance owns, with a display name and a description."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain.directory import addresses


class EmailAddress(Struct, frozen=True, kw_only=True):
    """One email address.

    A display name or description is None if the caller never set it, and empty if the caller set it to an empty string.
    """

    id: str
    instance_id: str
    account: str
    address: addresses.Address
    display_name: str | None
    description: str | None
    created_at: datetime
    modified_at: datetime

    def with_texts(self, *, display_name: str | None, description: str | None, now: datetime) -> "EmailAddress":
        """Return a copy with a new display name or description, and with the modification time `now`.

        A value of None leaves its field unchanged. If both values are None, the email address is returned unchanged.
        """
        if display_name is None and description is None:
            return self
        return replace(
            self,
            display_name=self.display_name if display_name is None else display_name,
            description=self.description if description is None else description,
            modified_at=now,
        )
