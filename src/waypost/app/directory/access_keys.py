"""Access keys: create, list, activate, delete. Whoever may run these may run the server."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.domain import errors
from waypost.domain.iam import access_keys
from waypost.domain.iam.access_keys import AccessKey

KEPT_AFTER_EXPIRY = timedelta(days=1)
"""How long a session is known after its end, to say that it ended."""


def create(tx: ports.WriteTx, key: AccessKey) -> None:
    """Keep a new access key. Raises `errors.Invalid` for an account, user name or policy that cannot be."""
    access_keys.check(key)
    tx.add_access_key(key)


def adopt(tx: ports.WriteTx, keys: Sequence[AccessKey], *, now: datetime) -> None:
    """Keep these keys of a credentials file, the first time that the deployment is asked to; never again."""
    if tx.first_time("adopt credentials"):
        for key in keys:
            create(tx, replace(key, created_at=now))


def owners_key(tx: ports.WriteTx, new: AccessKey) -> AccessKey:
    """The oldest key of the account's root that may do everything; `new`, which is one, is kept if there is none."""
    tx.hold("the owner's key")
    for key in tx.access_keys():
        if key.is_unrestricted and (key.user_name, key.account) == (new.user_name, new.account):
            return key
    create(tx, new)
    return new


def owners_account(tx: ports.ReadTx) -> str | None:
    """The account of the oldest unrestricted key of a root user, which is the owner's; None if there is none yet."""
    return next((key.account for key in tx.access_keys() if key.is_unrestricted and key.user_name == "root"), None)


def find(tx: ports.ReadTx, access_key_id: str) -> AccessKey | None:
    """The access key with this id, if there is one; the id may be anything that came over the wire."""
    return tx.access_key(access_key_id) if access_keys.is_id(access_key_id) else None


def set_active(tx: ports.WriteTx, access_key_id: str, *, active: bool) -> None:
    """Make an access key usable, or not, from the next call on. Raises `errors.NotFound`."""
    _get(tx, access_key_id)
    tx.activate_access_key(access_key_id, active=active)


def delete(tx: ports.WriteTx, access_key_id: str) -> None:
    """Remove an access key for good. Raises `errors.NotFound`."""
    _get(tx, access_key_id)
    tx.remove_access_key(access_key_id)


def purge(tx: ports.WriteTx, *, now: datetime) -> None:
    """Remove the sessions that ended so long ago that nobody needs to hear that they did."""
    tx.remove_access_keys_expired(before=now - KEPT_AFTER_EXPIRY)


def _get(tx: ports.ReadTx, access_key_id: str) -> AccessKey:
    key = find(tx, access_key_id)
    if key is None:
        raise errors.NotFound(f"There is no access key {access_key_id!a}.")
    return key
