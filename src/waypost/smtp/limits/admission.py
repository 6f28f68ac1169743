"""Limits the number of connections, in total and per client address, and the number of messages and unknown recipients
per client address.
"""

from datetime import datetime

from waypost.app import ports
from waypost.app.connections import OpenConnections
from waypost.app.rate_limits import Buckets
from waypost.domain.limits import networks, rates
from waypost.smtp.limits.guessing import Guessing
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply

UNKNOWN = rates.Rate(per_second=0.1, burst=200)
"""The rate of unknown recipients that is allowed for one client address, across all of its sessions.

Above this rate, each further unknown recipient ends the session."""


class Admission:
    """Counts connections, messages and unknown recipients, and refuses clients that exceed a limit."""

    def __init__(self, limits: SmtpLimits, state: ports.LimitState) -> None:
        self.connections = OpenConnections(limits.connections, limits.connections_each, state, "smtp")
        self._new_times, self._message_times = state.times("new connections"), state.times("messages")
        self._unknown = Buckets(UNKNOWN, state.times("unknown recipients"))
        self._guessing = Guessing(state)
        self.use(limits)

    def use(self, limits: SmtpLimits) -> None:
        """Use these limits for further connections and messages."""
        self.connections.limit(limits.connections, limits.connections_each)
        self._new = _a_minute(limits.new_connections_a_minute, self._new_times)
        self._messages = _a_minute(limits.messages_a_minute, self._message_times)

    @property
    def is_crowded(self) -> bool:
        """Whether the number of open connections is close to the limit."""
        return self.connections.is_crowded

    def enter(self, peer: str, now: datetime, *, trusted: bool = False) -> Reply | None:
        """Count a new connection, or return the reply that refuses it.

        The limits per address do not apply to a connection on a `trusted` listener.
        """
        if self.connections.is_full:
            return replies.SERVER_FULL
        if not trusted and self.connections.is_at_limit(peer):
            return replies.TOO_MANY_CONNECTIONS
        if not trusted and self._new and not self._new.take(networks.of(peer).host, now).admitted:
            return replies.TOO_MANY_CONNECTIONS
        self.connections.add(peer)
        return None

    def leave(self, peer: str) -> None:
        """Remove a closed connection from the count."""
        self.connections.remove(peer)

    def message_from(self, peer: str, now: datetime) -> Reply | None:
        """Count a new message from a client address, or return the reply that refuses it."""
        if self._messages is None or self._messages.take(networks.of(peer).host, now).admitted:
            return None
        return replies.TOO_MANY_MESSAGES

    def unknown_from(self, peer: str, now: datetime) -> Reply | None:
        """Count an unknown recipient from a client address. Returns the reply that ends the session if the client seems
        to be guessing addresses; otherwise None.
        """
        self._guessing.count(peer, now)
        return None if self._unknown.take(networks.of(peer).host, now).admitted else replies.TOO_MANY_UNKNOWN

    def must_wait(self, peer: str, now: datetime) -> bool:
        """Return whether `wait_before_reply` would delay the reply to RCPT."""
        return self._guessing.must_wait(peer, now)

    def wait_before_reply(self, peer: str, now: datetime) -> float | None:
        """Return the number of seconds by which to delay the reply to RCPT.

        The delay is zero unless the client has sent many unknown recipients. Returns None if the delay would be too
        long; the reply must then not reveal whether the recipient exists.
        """
        return self._guessing.wait(peer, now)


def _a_minute(count: float, times: ports.Times) -> Buckets | None:
    """Return buckets that allow `count` events per minute, all of which may come in one burst. Return None if `count`
    is 0, which means that there is no limit.
    """
    return Buckets(rates.Rate(count / 60, max(1, int(count))), times) if count else None
