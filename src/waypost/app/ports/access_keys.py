"""Access keys, by which the API's callers are known."""

from datetime import datetime
from typing import Protocol

from waypost.domain.iam.access_keys import AccessKey


class ReadAccessKeys(Protocol):
    """Reads access keys."""

    def access_key(self, access_key_id: str) -> AccessKey | None:
        """The access key with this id, of any account."""
        ...

    def access_keys(self) -> list[AccessKey]:
        """All access keys, the oldest first."""
        ...


class WriteAccessKeys(Protocol):
    """Changes to access keys."""

    def add_access_key(self, key: AccessKey) -> None:
        """A new access key. Its secret is sealed before it is stored."""
        ...

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        """Activate or deactivate an access key."""
        ...

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        """Delete temporary access keys that expired before a moment."""
        ...

    def remove_access_key(self, access_key_id: str) -> None:
        """For good."""
        ...
