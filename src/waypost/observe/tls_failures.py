"""Reports failed TLS handshakes to the log, in few lines however many there are."""

import asyncio

from waypost.observe import events

LOG_EVERY = 10.0
"""Seconds after the first reported failure, until further failures are logged together. Anyone can begin thousands of
handshakes each second that fail."""

LOGGED_EACH = 10
"""The maximum number of failures in this time that have a log line each."""


class TlsFailures:
    """Reports the failed TLS handshakes of one server to the log. Use it on the running event loop."""

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
