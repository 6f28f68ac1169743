"""Who has signed in: opens, finds and ends sessions for the guard and for the sign-in page."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.app.directory import access_keys
from waypost.console.parts import Parts
from waypost.domain.iam.access_keys import AccessKey

LONGEST = timedelta(hours=12)
"""How long a session lasts at most."""


@dataclass(frozen=True, slots=True)
class Session:
    """A person who has signed in with an access key."""

    id: str
    access_key_id: str
    expires_at: datetime


class Sessions:
    """The sessions of this process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_token: dict[str, Session] = {}

    async def open(self, key: AccessKey) -> str:
        """Open a session for an access key, and return its token, which is a secret of 256 bits."""
        token = secrets.token_urlsafe(32)
        self._by_token[token] = Session(secrets.token_hex(16), key.id, self._parts.clock() + LONGEST)
        return token

    async def find(self, token: str) -> tuple[Session, AccessKey] | None:
        """Return the session with a token, and its access key; None if the session has ended."""
        session = self._by_token.get(token)
        now = self._parts.clock()
        if session is None or now >= session.expires_at:
            return None
        key = await self._parts.store.read(lambda tx: access_keys.find(tx, session.access_key_id))
        return (session, key) if key and key.active and not key.is_expired(now) else None

    async def end(self, token: str) -> None:
        """End the session with a token."""
        self._by_token.pop(token, None)
