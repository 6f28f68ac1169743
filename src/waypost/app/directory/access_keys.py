"""Create, find, activate, deactivate and delete access keys. An operator manages access keys with commands, because the
API has no operations for access keys.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from waypost.app import ports
from waypost.domain import errors
from waypost.domain.iam import access_keys
from waypost.domain.iam.access_keys import AccessKey

KEPT_AFTER_EXPIRY = timedelta(days=1)
"""How long temporary credentials are kept after they expire, so that the server can report that they have expired."""


def create(tx: ports.WriteTx, key: AccessKey) -> None:
    """Store a new access key. Raises `errors.Invalid` if the key's account, user name or policy is not allowed."""
    access_keys.check(key)
    tx.add_access_key(key)


def adopt(tx: ports.WriteTx, keys: Sequence[AccessKey], *, now: datetime) -> None:
    """Store the access keys from a credentials file when this function is called for the first time in a deployment.
    Later calls do nothing.
    """
    if tx.first_time("adopt credentials"):
        for key in keys:
            create(tx, replace(key, created_at=now))


def owners_key(tx: ports.WriteTx, new: AccessKey) -> AccessKey:
    """Return the oldest unrestricted root key of `new.account`. If the account has no unrestricted root key, store and
    return `new`.
    """
    tx.hold("the owner's key")
    for key in tx.access_keys():
        if key.is_unrestricted and (key.user_name, key.account) == (new.user_name, new.account):
            return key
    create(tx, new)
    return new


def owners_account(tx: ports.ReadTx) -> str | None:
    """Return the account of the server's owner; None if there is no unrestricted root key yet.

    The owner's account is the account of the oldest unrestricted root key.
    """
    return next((key.account for key in tx.access_keys() if key.is_unrestricted and key.user_name == "root"), None)


def find(tx: ports.ReadTx, access_key_id: str) -> AccessKey | None:
    """Return the access key with this id, or None if no key has this id. The id may be any string from a client."""
    return tx.access_key(access_key_id) if access_keys.is_id(access_key_id) else None


def set_active(tx: ports.WriteTx, access_key_id: str, *, active: bool) -> None:
    """Activate or deactivate an access key; the change takes effect at the next API call. Raises `errors.NotFound`.

    The sessions of a key that is deactivated end, and do not begin again when the key is activated.
    """
    _get(tx, access_key_id)
    tx.activate_access_key(access_key_id, active=active)
    if not active:
        tx.remove_console_sessions_of(access_key_id)


def delete(tx: ports.WriteTx, access_key_id: str) -> None:
    """Delete an access key, and end its sessions. Raises `errors.NotFound`."""
    _get(tx, access_key_id)
    tx.remove_console_sessions_of(access_key_id)
    tx.remove_access_key(access_key_id)


def purge(tx: ports.WriteTx, *, now: datetime) -> None:
    """Delete temporary credentials that expired more than `KEPT_AFTER_EXPIRY` ago."""
    tx.remove_access_keys_expired(before=now - KEPT_AFTER_EXPIRY)


def _get(tx: ports.ReadTx, access_key_id: str) -> AccessKey:
    key = find(tx, access_key_id)
    if key is None:
        raise errors.NotFound(f"There is no access key {access_key_id!a}.")
    return key
