"""Limits of HTTP clients: times, and numbers of connections."""

from collections import Counter
from dataclasses import dataclass

from waypost.app.connections import OpenConnections
from waypost.observe import events

TELL_EVERY = 10
"""Seconds between two lines in the log about refused connections: there may be thousands a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBounds:
    """The limits of one server. Times are in seconds, sizes in octets.

    Only the time in which the server waits for the client counts.
    """

    connections: int = 1_000
    """At once."""
    connections_each: int = 200
    """Connections at the same time from one address, or one /64 network with IPv6."""
    head: float = 30.0
    """Seconds to the first octet of a request, and from there to the end of its header (RFC 9112 section 2.1)."""
    body_start: float = 30.0
    """Seconds for a body of which nothing was received yet; octets that arrive add time."""
    body: float = 300.0
    """The most seconds for a body."""
    answer_start: float = 60.0
    """Seconds for a response of which the client has read nothing yet; octets that it reads add time."""
    answer: float = 3600.0
    """The most seconds for a response."""
    slowest: float = 1_000.0
    """Octets that add one second."""
    start_when_crowded: float = 10.0
    """The most for a header, and in place of `body_start` and `answer_start`, when three quarters of the connections
    are in use."""
    linger: float = 2.0
    """Seconds for a client to read the last response on a connection that the server ends."""

    def head_time(self, *, is_crowded: bool) -> float:
        """Seconds for a header."""
        return min(self.head, self.start_when_crowded) if is_crowded else self.head

    def body_time(self, octets: int, *, is_crowded: bool) -> float:
        """Seconds that a body may have taken when this many octets were received."""
        start = min(self.body_start, self.start_when_crowded) if is_crowded else self.body_start
        return min(self.body, start + octets / self.slowest)

    def answer_time(self, octets: int, *, is_crowded: bool) -> float:
        """Seconds that a client may have taken when it has read this many octets of a response."""
        start = min(self.answer_start, self.start_when_crowded) if is_crowded else self.answer_start
        return min(self.answer, start + octets / self.slowest)

    @property
    def refused(self) -> int:
        """The most refused connections that stay open until the client has read the response. Others are closed at
        once.
        """
        return max(4, self.connections // 20)


FULL = "The server has reached its limit of HTTP connections (--http-connections). Please try again."
TOO_MANY = "This address has reached its limit of HTTP connections (--http-connections-each). Please try again."


class HttpAdmission:
    """Counts connections, and logs refused ones."""

    def __init__(self, bounds: HttpBounds, emit: events.Emit) -> None:
        self.bounds = bounds
        self.emit = emit
        self.connections = OpenConnections(bounds.connections, bounds.connections_each)
        self._refused: Counter[str] = Counter()
        self._last_refused = ""
        self._untold_seconds = 0
        self._lingering = 0

    @property
    def is_crowded(self) -> bool:
        """Whether connections are about to run out."""
        return self.connections.is_crowded

    def enter(self, peer: str) -> str | None:
        """Count a connection, or return why it is refused."""
        refusal = None
        if self.connections.is_full:
            refusal = FULL
        elif self.connections.is_at_limit(peer):
            refusal = TOO_MANY
        if refusal:
            self._refused[refusal] += 1
            self._last_refused = peer
            return refusal
        self.connections.add(peer)
        return None

    def linger(self) -> bool:
        """Count in a refused connection that stays open for a moment; returns whether there may be one more."""
        if self._lingering >= self.bounds.refused:
            return False
        self._lingering += 1
        return True

    def lingered(self) -> None:
        """Count such a connection as closed."""
        self._lingering -= 1

    def leave(self, peer: str) -> None:
        """Count a connection as closed that was counted as opened."""
        self.connections.remove(peer)

    def second_passed(self) -> None:
        """Log refused connections, from time to time. Called once a second."""
        if self._refused:
            self._untold_seconds += 1
            if self._untold_seconds >= TELL_EVERY:
                self.tell()

    def tell(self) -> None:
        """Tell the log about connections that were refused."""
        for refusal, count in self._refused.items():
            self.emit(events.ConnectionsRefused(reply=f"503 {refusal}", count=count, peer=self._last_refused))
        self._refused.clear()
        self._untold_seconds = 0
