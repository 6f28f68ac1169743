"""The email address as a resource: an address, owned by an instance, with words for people."""

from dataclasses import dataclass
from datetime import datetime

from waypost.domain import addresses


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
