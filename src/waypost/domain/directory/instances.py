"""The Amazon Connect instance, which belongs to a tenant and owns email addresses."""

from datetime import datetime

from msgspec import Struct

from waypost.domain.directory import partitions


class Tenant(Struct, frozen=True):
    """The tenant of a call: one account in one region. A call sees only the resources of its tenant."""

    account: str
    region: str

    @property
    def partition(self) -> str:
        """The AWS partition of the region, such as `aws` or `aws-cn`, as it appears in ARNs."""
        return partitions.partition_of(self.region)


ALIAS_IS_USED = "Invalid Input. Instance alias is already used."
"""The error message for a request to create an instance with an alias that another instance already has.

Amazon Connect returns exactly this message, and programs may check for it.
"""


class Instance(Struct, frozen=True, kw_only=True):
    """An Amazon Connect instance. An instance never changes after its creation."""

    id: str
    tenant: Tenant
    alias: str | None
    identity_management_type: str
    directory_id: str | None
    inbound_calls_enabled: bool
    outbound_calls_enabled: bool
    created_at: datetime
