"""A transaction's queries for the sessions of the console."""

from datetime import datetime

from waypost.domain.iam.sessions import Session
from waypost.store.common import rows
from waypost.store.common.statements import Statements
from waypost.store.sql import kinds


class SessionQueries(Statements):
    """The part of `Transaction` that handles sessions. The methods are documented in `app/ports/sessions.py`."""

    def console_session(self, digest: bytes) -> Session | None:
        row = self._one("console_session", digest)
        return rows.console_session(row) if row else None

    def add_console_session(self, session: Session) -> None:
        self._run("add_console_session", *rows.of_console_session(session))

    def use_console_session(self, session_id: str, *, used_at: datetime) -> None:
        self._run("use_console_session", session_id, kinds.to_milliseconds(used_at))

    def renew_console_session(self, session: Session, *, new_digest: bytes, now: datetime) -> bool:
        moment = kinds.to_milliseconds(now)
        return bool(self._all("renew_console_session", session.id, session.token_digest, new_digest, moment))

    def remove_console_session(self, session_id: str) -> None:
        self._run("remove_console_session", session_id)

    def remove_console_sessions_of(self, access_key_id: str) -> None:
        self._run("remove_console_sessions_of", access_key_id)
        self._run("remove_console_links_of", access_key_id)

    def remove_console_sessions_over(self, *, expired_before: datetime, unused_since: datetime) -> None:
        expired = kinds.to_milliseconds(expired_before)
        self._run("remove_console_sessions_over", expired, kinds.to_milliseconds(unused_since))
        self._run("remove_console_links_expired", expired)

    def add_console_link(self, digest: bytes, access_key_id: str, *, expires_at: datetime) -> None:
        self._run("add_console_link", digest, access_key_id, kinds.to_milliseconds(expires_at))

    def take_console_link(self, digest: bytes) -> tuple[str, datetime] | None:
        found = self._all("take_console_link", digest)
        return (found[0][0], kinds.from_milliseconds(found[0][1])) if found else None
