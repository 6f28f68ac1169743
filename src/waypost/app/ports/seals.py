"""Sealed secrets: which key seals new ones, and the rotation of that key."""

from typing import Protocol


class ReadSeals(Protocol):
    """Methods that read what is sealed."""

    def mail_secrets(self) -> str | None:
        """Return the secrets that sign rewritten senders and loop tokens, as text; None before their first rotation."""
        ...

    def sealed_with_other_keys(self) -> int:
        """Return the number of secrets that are not sealed with the newest key."""
        ...


class WriteSeals(Protocol):
    """Methods that seal secrets again with the newest key. Repeated calls change only what is left."""

    def put_mail_secrets(self, secrets: str) -> None:
        """Store the secrets that sign rewritten senders and loop tokens."""
        ...

    def begin_reseal(self) -> None:
        """Let the newest key seal all new secrets, in all servers, and seal the secrets of the deployment with it."""
        ...

    def reseal_access_keys(self, *, after: str, limit: int) -> tuple[int, str | None]:
        """Seal the secrets of the next `limit` access keys after the id `after`. Return how many were changed, and the
        id after which to continue; None if there are no more.
        """
        ...

    def reseal_routes(self) -> int:
        """Seal the secrets of all routes that operators manage with commands. Return how many were changed."""
        ...
