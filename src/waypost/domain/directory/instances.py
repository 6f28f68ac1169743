"""The Amazon Connect instance: belongs to a tenant, and owns email addresses."""

from dataclasses import dataclass
from datetime import datetime

from waypost.domain.directory import partitions


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose resources a call may see: one account in one region. Nothing of another is visible."""

    account: str
    region: str

    @property
    def partition(self) -> str:
        """The part of AWS that the region is in, as ARNs name it."""
        return partitions.partition_of(self.region)


ALIAS_IS_USED = "Invalid Input. Instance alias is already used."
"""The refusal of an instance alias that another instance has. Amazon Connect's own text, which programs look for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance, as it was created. Nothing of it changes later."""

    id: str
    tenant: Tenant
    alias: str | None
    identity_management_type: str
    directory_id: str | None
    inbound_calls_enabled: bool
    outbound_calls_enabled: bool
    created_at: datetime
