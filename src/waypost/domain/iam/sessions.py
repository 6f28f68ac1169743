"""A session of the console: a person who has signed in with an access key."""

from datetime import datetime, timedelta

from msgspec import Struct

from waypost.domain import representation
from waypost.domain.iam.access_keys import MAX_CLOCK_SKEW

LONGEST = timedelta(hours=12)
"""How long a session lasts at most. Source: NIST SP 800-63B section 4.2.3, for authenticator assurance level 2."""

LONGEST_IDLE = timedelta(hours=1)
"""How long a session lasts without a request. An open page with live updates sends requests."""

RENEWED_EVERY = timedelta(minutes=30)
"""How old a token is when the session gets another one."""

OVERLAP = timedelta(minutes=1)
"""How long the previous token remains valid, for requests that the browser had already sent."""

NOTED_EVERY = timedelta(minutes=1)
"""How often the use of a session is recorded. Otherwise, each request would write to the store."""

LINK_LIFETIME = timedelta(minutes=10)
"""How long a link that signs in once is valid."""


class Session(Struct, frozen=True, kw_only=True):
    """A person who has signed in with an access key. The browser has the token, and the store only its digest."""

    id: str
    """A random id that never changes. The CSRF tokens are bound to it."""
    access_key_id: str
    token_digest: bytes
    previous_digest: bytes | None = None
    token_made_at: datetime
    opened_at: datetime
    used_at: datetime
    expires_at: datetime

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "token_digest", "previous_digest")

    def is_over(self, now: datetime) -> bool:
        """Return whether the session has expired, or has not been used for too long.

        A session that begins in the future was opened while the clock was ahead, and is over too.
        """
        return now >= self.expires_at or now >= self.used_at + LONGEST_IDLE or now < self.opened_at - MAX_CLOCK_SKEW

    def accepts(self, digest: bytes, now: datetime) -> bool:
        """Return whether the token with this digest is the session's token, or was it until a moment ago."""
        return digest == self.token_digest or (digest == self.previous_digest and now < self.token_made_at + OVERLAP)

    def needs_token(self, now: datetime) -> bool:
        """Return whether it is time for another token."""
        return now >= self.token_made_at + RENEWED_EVERY

    def needs_note(self, now: datetime) -> bool:
        """Return whether it is time to record that the session is in use."""
        return now >= self.used_at + NOTED_EVERY


def opened(
    session_id: str, *, access_key_id: str, key_expires_at: datetime | None, token_digest: bytes, now: datetime
) -> Session:
    """Return a new session. It does not outlast the access key, if that is temporary."""
    return Session(
        id=session_id,
        access_key_id=access_key_id,
        token_digest=token_digest,
        token_made_at=now,
        opened_at=now,
        used_at=now,
        expires_at=min(now + LONGEST, key_expires_at or now + LONGEST),
    )
