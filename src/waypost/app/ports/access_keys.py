"""Access keys, which identify the callers of the API."""

from datetime import datetime
from typing import Protocol

from waypost.domain.iam.access_keys import AccessKey


class ReadAccessKeys(Protocol):
    """Methods that read access keys."""

    def access_key(self, access_key_id: str) -> AccessKey | None:
        """Return the access key with this id, or None if no key has this id. The key may belong to any account."""
        ...

    def access_keys(self) -> list[AccessKey]:
        """Return all access keys, oldest first."""
        ...


class WriteAccessKeys(Protocol):
    """Methods that change access keys."""

    def add_access_key(self, key: AccessKey) -> None:
        """Store a new access key. The store encrypts the secret before it writes the key."""
        ...

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        """Activate or deactivate an access key."""
        ...

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        """Delete the temporary access keys that expired before the given time."""
        ...

    def remove_access_key(self, access_key_id: str) -> None:
        """Permanently delete an access key."""
        ...
