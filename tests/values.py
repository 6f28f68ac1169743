"""Short ways to make what a test of rules and stores talks about."""

import uuid
from datetime import UTC, datetime, timedelta

from waypost.api.calls import Terms
from waypost.api.page_tokens import PageTokens
from waypost.app import instances
from waypost.domain import addresses
from waypost.domain.email_addresses import EmailAddress
from waypost.domain.instances import Instance, Tenant

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TENANT = Tenant("000000000000", "us-east-1")
TERMS = Terms(
    new_id=lambda: str(uuid.uuid4()),
    page_tokens=PageTokens(b"k" * 32),
    token_retention=timedelta(days=7),
    email_address_quota=None,
)


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


class NoSeal:
    """Keeps secrets as they are, for tests that are not about them."""

    def seal(self, secret, of):
        return secret.encode()

    def unseal(self, sealed, of):
        return sealed.decode()
