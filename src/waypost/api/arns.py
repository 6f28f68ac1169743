"""Amazon Resource Names of what we have (Service Authorization Reference, Amazon Connect)."""

from waypost.domain.instances import Tenant

_PARTITIONS = (("us-gov-", "aws-us-gov"), ("cn-", "aws-cn"))


def instance(tenant: Tenant, instance_id: str) -> str:
    """The ARN of an instance."""
    partition = next((name for prefix, name in _PARTITIONS if tenant.region.startswith(prefix)), "aws")
    return f"arn:{partition}:connect:{tenant.region}:{tenant.account}:instance/{instance_id}"


def email_address(tenant: Tenant, instance_id: str, email_address_id: str) -> str:
    """The ARN of an email address."""
    return f"{instance(tenant, instance_id)}/email-address/{email_address_id}"
