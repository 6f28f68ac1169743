"""Logs in few lines what clients can cause thousands of times each second: refused connections and failed TLS
handshakes. Use it on the running event loop.
"""

import asyncio
from collections import Counter

from waypost.observe import events

LOG_EVERY = 10.0
"""Seconds after the first refused connection or failed handshake, until all that came since are logged together."""

LOGGED_EACH = 10
"""The maximum number of failed handshakes in this time that have a log line each."""


class RefusedConnections:
    """Counts the connections that one server refuses, and logs one event for each reply."""

    def __init__(self, emit: events.Emit) -> None:
        self._emit = emit
        self._counts: Counter[str] = Counter()
        self._last_peer = ""

    def report(self, reply: str, peer: str) -> None:
        """Report a connection that was refused with this reply to the client with this IP address."""
        if not self._counts:
            asyncio.get_running_loop().call_later(LOG_EVERY, self.log_rest)
        self._counts[reply] += 1
        self._last_peer = peer

    def log_rest(self) -> None:
        """Log the connections that have not been logged yet. A server that stops calls this method."""
        for reply, count in self._counts.items():
            self._emit(events.ConnectionsRefused(reply=reply, count=count, peer=self._last_peer))
        self._counts.clear()


class TlsFailures:
    """Logs the failed TLS handshakes of one server: the first ones one by one, and further ones together."""

    def __init__(self, emit: events.Emit, protocol: str) -> None:
        """`protocol` is as in `events.TlsFailed`."""
        self._emit = emit
        self._protocol = protocol
        self._logged = self._unlogged = 0
        self._last_peer = self._last_reason = ""

    def report(self, peer: str, reason: str) -> None:
        """Report a failed handshake of the client with this IP address."""
        if not self._logged:
            asyncio.get_running_loop().call_later(LOG_EVERY, self.log_rest)
        if self._logged < LOGGED_EACH:
            self._logged += 1
            self._emit(events.TlsFailed(peer=peer, reason=reason, protocol=self._protocol))
        else:
            self._unlogged += 1
            self._last_peer, self._last_reason = peer, reason

    def log_rest(self) -> None:
        """Log the failures that have not been logged yet as one event. A server that stops calls this method."""
        count, self._logged, self._unlogged = self._unlogged, 0, 0
        if count:
            self._emit(
                events.TlsFailed(peer=self._last_peer, reason=self._last_reason, protocol=self._protocol, count=count)
            )
