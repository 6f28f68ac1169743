"""Access keys, by which the API's callers are known."""

from datetime import datetime
from typing import Protocol

from waypost.domain.iam.access_keys import AccessKey


class ReadAccessKeys(Protocol):
    """Access keys, as they are read."""

    def access_key(self, access_key_id: str) -> AccessKey | None:
        """The access key with this id, whoever's it is."""
        ...

    def access_keys(self) -> list[AccessKey]:
        """All access keys, the oldest first."""
        ...


class WriteAccessKeys(Protocol):
    """Changes to access keys."""

    def add_access_key(self, key: AccessKey) -> None:
        """A new access key. Its secret is sealed before it is kept."""
        ...

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        """Make an access key usable, or not."""
        ...

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        """Remove the temporary access keys that ended before a moment."""
        ...

    def remove_access_key(self, access_key_id: str) -> None:
        """For good."""
        ...
