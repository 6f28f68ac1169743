"""Finds the server owner's access key, which is in the credentials file, and the owner's first instance.

When a server first starts, it creates the access key and the instance.
"""

import uuid
from datetime import datetime
from functools import partial

from waypost.app import ports
from waypost.app.directory import access_keys, instances
from waypost.config.settings import Settings
from waypost.domain.directory.instances import Instance, Tenant
from waypost.host import sealing
from waypost.host.clock import now
from waypost.host.data_directory import DataDirectory
from waypost.server.opening import adopting


async def find_or_make(store: ports.Store, directory: DataDirectory, settings: Settings) -> Tenant:
    """Return the account and region of the owner's access key.

    When the server first starts, it creates the key, and writes it to the credentials file. Raises `DataDirectoryError`
    if the credentials file cannot be used, and also raises the errors of the store.
    """
    await store.write(adopting(directory))
    if not directory.credentials.exists():
        new, _ = sealing.new_access_key(account=settings.account, user_name="root", now=now())
        key = await store.write(partial(access_keys.owners_key, new=new))
        directory.write_credentials(key, region=settings.region)
    profile = directory.profiles()[0]
    return Tenant(profile.key.account, profile.region)


def first_instance(tx: ports.WriteTx, *, tenant: Tenant, now: datetime) -> str:
    """Return the id of the tenant's oldest instance. Create an instance if the tenant has none yet."""
    tx.hold("the first instance")
    oldest = instances.oldest(tx, tenant)
    if oldest:
        return oldest.id
    instance = Instance(
        id=str(uuid.uuid4()),
        tenant=tenant,
        alias=None,
        identity_management_type="CONNECT_MANAGED",
        directory_id=None,
        inbound_calls_enabled=False,
        outbound_calls_enabled=False,
        created_at=now,
    )
    return instances.create(tx, instance, tags={})
