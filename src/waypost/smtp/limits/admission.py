"""Limits connections, in all and from one address, and the messages and unknown recipients from it."""

from datetime import datetime

from waypost.app.connections import OpenConnections
from waypost.app.rate_limits import Buckets
from waypost.domain.limits import networks, rates
from waypost.smtp.limits.guessing import Guessing
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

UNKNOWN = rates.Rate(per_second=0.1, burst=200)
"""Unknown recipients that one address may name over all its sessions. After that, each further one ends the session."""


class Admission:
    """Counts connections, messages and unknown recipients."""

    def __init__(self, limits: SmtpLimits) -> None:
        self.connections = OpenConnections(limits.connections, limits.connections_each)
        self._new = _a_minute(limits.new_connections_a_minute)
        self._messages = _a_minute(limits.messages_a_minute)
        self._unknown = Buckets(UNKNOWN)
        self._guessing = Guessing()

    @property
    def is_crowded(self) -> bool:
        """Whether connections are about to run out."""
        return self.connections.is_crowded

    def enter(self, peer: str, now: datetime, *, trusted: bool = False) -> Reply | None:
        """Count a connection, unless it is refused. One on a `trusted` listener has no limits for its address."""
        if self.connections.is_full:
            return replies.SERVER_FULL
        if not trusted and self.connections.is_at_limit(peer):
            return replies.TOO_MANY_CONNECTIONS
        if not trusted and self._new and not self._new.take(networks.of(peer).host, now).admitted:
            return replies.TOO_MANY_CONNECTIONS
        self.connections.add(peer)
        return None

    def leave(self, peer: str) -> None:
        """Count a connection out."""
        self.connections.remove(peer)

    def message_from(self, peer: str, now: datetime) -> Reply | None:
        """Count a message from an address, unless it is refused."""
        if self._messages is None or self._messages.take(networks.of(peer).host, now).admitted:
            return None
        return replies.TOO_MANY_MESSAGES

    def unknown_from(self, peer: str, now: datetime) -> Reply | None:
        """Count an unknown recipient from an address; returns a reply if the address seems to guess."""
        self._guessing.count(peer, now)
        return None if self._unknown.take(networks.of(peer).host, now).admitted else replies.TOO_MANY_UNKNOWN

    def wait_before_reply(self, peer: str, now: datetime) -> float | None:
        """Seconds that the reply to RCPT is delayed after many unknown recipients; None if the address gets no answer
        now.
        """
        return self._guessing.wait(peer, now)


def _a_minute(count: float) -> Buckets | None:
    """Buckets for a rate a minute, with a burst of the same size; None for no limit."""
    return Buckets(rates.Rate(count / 60, max(1, int(count)))) if count else None
