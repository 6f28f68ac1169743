"""The sessions of the console, and the links with which a person can sign in once."""

from datetime import datetime
from typing import Protocol

from waypost.domain.iam.sessions import Session


class ReadSessions(Protocol):
    """Methods that read sessions."""

    def console_session(self, digest: bytes) -> Session | None:
        """Return the session whose token or previous token has this SHA-256 digest. It may be over."""
        ...


class WriteSessions(Protocol):
    """Methods that change sessions and links."""

    def add_console_session(self, session: Session) -> None:
        """Store a new session."""
        ...

    def use_console_session(self, session_id: str, *, used_at: datetime) -> None:
        """Record when a session was last used."""
        ...

    def renew_console_session(self, session: Session, *, new_digest: bytes, now: datetime) -> bool:
        """Replace the token of a session. Return False if another request has replaced it since it was read."""
        ...

    def remove_console_session(self, session_id: str) -> None:
        """Delete a session."""
        ...

    def remove_console_sessions_of(self, access_key_id: str) -> None:
        """Delete all sessions that were opened with an access key, and all links that sign in with it."""
        ...

    def remove_console_sessions_over(self, *, expired_before: datetime, unused_since: datetime) -> None:
        """Delete the sessions and links that expired before a time, and the sessions not used since a time."""
        ...

    def add_console_link(self, digest: bytes, access_key_id: str, *, expires_at: datetime) -> None:
        """Store a link that signs in once. `digest` is the SHA-256 digest of its token."""
        ...

    def take_console_link(self, digest: bytes) -> tuple[str, datetime] | None:
        """Delete a link. Return the id of its access key and the time at which it expires; None if there is none."""
        ...
