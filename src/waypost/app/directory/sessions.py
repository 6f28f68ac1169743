"""Sign in to the console, and sign out.

A session belongs to an access key. It ends when the person signs out, when it expires, and when the key is deactivated,
deleted or expired. The caller makes all tokens, because use cases have no randomness.
"""

from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.app.directory import access_keys
from waypost.domain import errors
from waypost.domain.iam import sessions
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token
from waypost.domain.iam.sessions import Session


class Found(Struct, frozen=True):
    """A session with its access key."""

    session: Session
    key: AccessKey


def open_session(tx: ports.WriteTx, access_key_id: str, *, session_id: str, token: str, now: datetime) -> Found | None:
    """Open a session for a person who has proved that the access key is theirs. Return None if the key is not active.

    `token` is a new secret of 256 random bits.
    """
    key = _usable_key(tx, access_key_id, now)
    if key is None:
        return None
    session = sessions.opened(
        session_id,
        access_key_id=key.id,
        key_expires_at=key.expires_at,
        token_digest=digest_of_session_token(token),
        now=now,
    )
    tx.add_console_session(session)
    return Found(session, key)


def open_with_link(tx: ports.WriteTx, link: str, *, session_id: str, token: str, now: datetime) -> Found | None:
    """Open a session with the token of a link. Return None if the link does not exist, was used, or has expired.

    Whatever the result is, the link cannot be used again.
    """
    taken = tx.take_console_link(digest_of_session_token(link))
    if taken is None:
        return None
    access_key_id, expires_at = taken
    if now >= expires_at or expires_at - now > sessions.LINK_LIFETIME:  # the clock was ahead when it was made
        return None
    return open_session(tx, access_key_id, session_id=session_id, token=token, now=now)


def make_link(tx: ports.WriteTx, access_key_id: str, *, token: str, now: datetime) -> None:
    """Store a link that signs in once with an access key. Raises `errors.NotFound` if the key is not active."""
    if _usable_key(tx, access_key_id, now) is None:
        raise errors.NotFound(f"There is no active access key {access_key_id!a}.")
    tx.add_console_link(digest_of_session_token(token), access_key_id, expires_at=now + sessions.LINK_LIFETIME)


def find(tx: ports.ReadTx, token: str, *, now: datetime) -> Found | None:
    """Return the session with a token, and its access key as it is now; None if the session is over."""
    digest = digest_of_session_token(token)
    session = tx.console_session(digest)
    if session is None or session.is_over(now) or not session.accepts(digest, now):
        return None
    key = _usable_key(tx, session.access_key_id, now)
    return Found(session, key) if key else None


def note_use(tx: ports.WriteTx, session: Session, *, now: datetime) -> None:
    """Record that a session is in use."""
    tx.use_console_session(session.id, used_at=now)


def renew(tx: ports.WriteTx, session: Session, *, token: str, now: datetime) -> bool:
    """Replace the token of a session. Return False if another request has already done so."""
    return tx.renew_console_session(session, new_digest=digest_of_session_token(token), now=now)


def end(tx: ports.WriteTx, token: str) -> None:
    """End the session with a token, if there is one."""
    session = tx.console_session(digest_of_session_token(token))
    if session:
        tx.remove_console_session(session.id)


def purge(tx: ports.WriteTx, *, now: datetime) -> None:
    """Delete the sessions and links that are over."""
    tx.remove_console_sessions_over(expired_before=now, unused_since=now - sessions.LONGEST_IDLE)


def _usable_key(tx: ports.ReadTx, access_key_id: str, now: datetime) -> AccessKey | None:
    key = access_keys.find(tx, access_key_id)
    return key if key and key.active and not key.is_expired(now) else None
