"""The email address as a resource: an address, owned by an instance, with a display name and a description."""

from dataclasses import dataclass, replace
from datetime import datetime

from waypost.domain.directory import addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailAddress:
    """One email address. `None` means the caller never gave the text; `""` means they gave an empty one."""

    id: str
    instance_id: str
    account: str
    address: addresses.Address
    display_name: str | None
    description: str | None
    created_at: datetime
    modified_at: datetime

    def with_texts(self, *, display_name: str | None, description: str | None, now: datetime) -> "EmailAddress":
        """A copy with other texts, modified `now`; a text that is None stays as it is. Unchanged if both are None."""
        if display_name is None and description is None:
            return self
        return replace(
            self,
            display_name=self.display_name if display_name is None else display_name,
            description=self.description if description is None else description,
            modified_at=now,
        )
