"""Short ways to make what a test of rules and stores talks about."""

from datetime import UTC, datetime

from waypost.app import instances
from waypost.domain import addresses
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.instances import Instance, Tenant

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TENANT = Tenant("000000000000", "us-east-1")


def make_instance(tx, instance_id="i", tenant=TENANT, alias=None):
    instance = Instance(
        id=instance_id,
        tenant=tenant,
        alias=alias,
        identity_management_type="SAML",
        directory_id=None,
        inbound_calls_enabled=True,
        outbound_calls_enabled=False,
        created_at=NOW,
    )
    instances.create(tx, instance, tags={})
    return instance


def an_email_address(name, instance_id="i", account=TENANT.account):
    return EmailAddress(
        id=name,
        instance_id=instance_id,
        account=account,
        address=addresses.parse(f"{name}@example.com"),
        display_name=None,
        description=None,
        created_at=NOW,
        modified_at=NOW,
    )
