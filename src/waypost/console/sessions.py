"""Opens, finds, renews and ends the sessions in the store, for the guard and for the sign-in page."""

import secrets
from contextlib import suppress
from functools import partial

from msgspec import Struct

from waypost.app.directory import sessions
from waypost.app.ports.failures import STORE_FAILURES
from waypost.console.parts import Parts
from waypost.domain.iam.access_keys import AccessKey


class SignedIn(Struct, frozen=True):
    """A person who has signed in."""

    session_id: str
    key: AccessKey
    new_token: str = ""
    """The token that the browser must use from now on; empty if it may keep the one that it has."""


class Sessions:
    """The sessions of the console. All processes of a deployment share them."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._clock = parts.clock

    async def open(self, key: AccessKey) -> SignedIn | None:
        """Open a session for an access key. Return None if the key has been deactivated in the meantime."""
        return await self._opened(partial(sessions.open_session, access_key_id=key.id))

    async def open_with_link(self, link: str) -> SignedIn | None:
        """Open a session with the token of a link. Return None if the link is not valid, or no longer."""
        return await self._opened(partial(sessions.open_with_link, link=link))

    async def find(self, token: str) -> SignedIn | None:
        """Return the person whose session has a token; None if the session is over.

        From time to time, this method gives the session another token.
        """
        if not token:
            return None
        now = self._clock()
        found = await self._store.read(partial(sessions.find, token=token, now=now))
        if found is None:
            return None
        session = found.session
        new_token = ""
        # If the store cannot write now, for example because the disk is full, people can still read.
        with suppress(*STORE_FAILURES):
            if session.needs_token(now):
                other = _new_token()
                if await self._store.write(partial(sessions.renew, session=session, token=other, now=now)):
                    new_token = other
            elif session.needs_note(now):
                await self._store.write(partial(sessions.note_use, session=session, now=now))
        return SignedIn(session.id, found.key, new_token)

    async def key_of(self, token: str) -> AccessKey | None:
        """Return the access key of the session with a token; None if the session is over. Nothing is changed."""
        found = await self._store.read(partial(sessions.find, token=token, now=self._clock()))
        return found.key if found else None

    async def end(self, token: str) -> None:
        """End the session with a token, if there is one."""
        if token:
            await self._store.write(partial(sessions.end, token=token))

    async def _opened(self, use_case: "partial[sessions.Found | None]") -> SignedIn | None:
        token = _new_token()
        opened = await self._store.write(
            partial(use_case, session_id=secrets.token_hex(16), token=token, now=self._clock())
        )
        return SignedIn(opened.session.id, opened.key, token) if opened else None


def _new_token() -> str:
    """Return a new token with 256 random bits."""
    return secrets.token_urlsafe(32)
