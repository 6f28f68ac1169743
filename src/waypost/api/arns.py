"""Amazon Resource Names of what we have (Service Authorization Reference, Amazon Connect)."""

from functools import cache

from waypost.domain.instances import Tenant

_PARTITIONS = (("us-gov-", "aws-us-gov"), ("cn-", "aws-cn"))


def instance(tenant: Tenant, instance_id: str) -> str:
    """The ARN of an instance."""
    return f"arn:{_partition(tenant.region)}:connect:{tenant.region}:{tenant.account}:instance/{instance_id}"


def email_address(tenant: Tenant, instance_id: str, email_address_id: str) -> str:
    """The ARN of an email address."""
    return f"{instance(tenant, instance_id)}/email-address/{email_address_id}"


@cache
def _partition(region: str) -> str:
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")
