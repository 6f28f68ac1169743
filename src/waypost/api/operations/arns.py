"""Amazon Resource Names of instances and email addresses.

Source: "Actions, resources, and condition keys for Amazon Connect" in the Service Authorization Reference.
"""

import re
from functools import lru_cache

from waypost.app.directory.tags import Resource
from waypost.domain import errors
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.partitions import partition_of

_ARN = re.compile(
    r"arn:(?P<partition>[^:/]*):connect:(?P<region>[^:/]*):(?P<account>[^:/]*):"
    r"instance/(?P<instance>[^:/]+)(?:/email-address/(?P<email_address>[^:/]+))?"
)

_SUFFIX_LENGTH = 20


def instance(tenant: Tenant, instance_id: str) -> str:
    """Return the ARN of an instance."""
    return _before_instance(tenant.account, tenant.region) + instance_id


@lru_cache(maxsize=1024)
def _before_instance(account: str, region: str) -> str:
    """Return the part that the ARNs of all instances of a tenant have in common."""
    return f"arn:{partition_of(region)}:connect:{region}:{account}:instance/"


def service_role(tenant: Tenant, instance_id: str) -> str:
    """Return the ARN of the service-linked role that Amazon Connect would use for an instance.

    The role does not exist in Waypost; its ARN is only shown in responses. Waypost takes the suffix of the role's name
    from the instance id, whereas Amazon Connect uses a random suffix of the same length.
    """
    suffix = instance_id.replace("-", "")[:_SUFFIX_LENGTH]
    path = "role/aws-service-role/connect.amazonaws.com"
    return f"arn:{tenant.partition}:iam::{tenant.account}:{path}/AWSServiceRoleForAmazonConnect_{suffix}"


def email_address(tenant: Tenant, instance_id: str, email_address_id: str) -> str:
    """Return the ARN of an email address."""
    return f"{instance(tenant, instance_id)}/email-address/{email_address_id}"


def of(tenant: Tenant, resource: Resource) -> str:
    """Return the ARN of an instance or email address."""
    if resource.email_address_id is None:
        return instance(tenant, resource.instance_id)
    return email_address(tenant, resource.instance_id, resource.email_address_id)


def parse(text: str, tenant: Tenant) -> Resource:
    """Parse the ARN of an instance or email address, without checking that the resource exists.

    Raises `errors.Invalid` if the text is not the ARN of an instance or email address, or if the ARN's partition is not
    the tenant's partition. Raises `errors.NotFound` if the resource belongs to another region or account, because the
    caller has no access to it.
    """
    match = _ARN.fullmatch(text)
    if match is None:
        raise errors.Invalid(
            f"{text[:200]!r} is not the ARN of an instance or email address: "
            "arn:PARTITION:connect:REGION:ACCOUNT:instance/ID or …/instance/ID/email-address/ID."
        )
    if match["partition"] != tenant.partition:
        raise errors.Invalid(f"{text} is in partition {match['partition']!r}, not {tenant.partition!r}.")
    if (match["account"], match["region"]) != (tenant.account, tenant.region):
        raise errors.NotFound(f"{text} was not found in account {tenant.account} in region {tenant.region}.")
    return Resource(match["instance"], match["email_address"])


def instance_id_of(text: str, tenant: Tenant) -> str:
    """Return the id of an instance, given its id or ARN. Raises `errors.Invalid` if the ARN names an email address.
    Also raises the errors that `parse` raises.
    """
    if not text.startswith("arn:"):
        return text
    resource = parse(text, tenant)
    if resource.email_address_id is not None:
        raise errors.Invalid(f"InstanceId {text} is the ARN of an email address, not of an instance.")
    return resource.instance_id


def email_address_id_of(text: str, tenant: Tenant, instance_id: str) -> str:
    """Return the id of an email address, given its id or ARN.

    Raises `errors.Invalid` if the ARN names an instance, and `errors.NotFound` if the ARN names an email address of
    another instance. Also raises the errors that `parse` raises.
    """
    if not text.startswith("arn:"):
        return text
    resource = parse(text, tenant)
    if resource.email_address_id is None:
        raise errors.Invalid(f"EmailAddressId {text} is the ARN of an instance, not of an email address.")
    if resource.instance_id != instance_id:
        raise errors.NotFound(f"{text} was not found in instance {instance_id}.")
    return resource.email_address_id
