"""Limits for HTTP clients: the time that a client may take, and the number of connections."""

from msgspec import Struct

from waypost.app import ports
from waypost.app.connections import OpenConnections
from waypost.observe import events
from waypost.observe.rate_limited_log import RefusedConnections


class HttpBounds(Struct, frozen=True, kw_only=True):
    """The limits of one HTTP server. Times are in seconds, and sizes are in bytes.

    Only the time during which the server waits for the client counts towards a limit.
    """

    connections: int = 1_000
    """The maximum number of simultaneous connections."""
    connections_each: int = 200
    """The maximum number of simultaneous connections from one IPv4 address or one IPv6 /64 network."""
    head: float = 30.0
    """The maximum number of seconds until the first byte of a request arrives, and again from that byte until the end
    of the header (RFC 9112 section 2.1).
    """
    handshake: float = 10.0
    """The maximum number of seconds for the TLS handshake, and for its first byte to arrive."""
    idle: float = 5.0
    """The maximum number of seconds from a response until the first byte of the next request."""
    body_start: float = 30.0
    """The initial time limit in seconds for the body of a request. Each byte that arrives extends this limit."""
    body: float = 300.0
    """The maximum number of seconds for the body of a request."""
    answer_start: float = 60.0
    """The initial time limit in seconds for a client to read a response. Each byte that the client reads extends this
    limit."""
    answer: float = 3600.0
    """The maximum number of seconds for a client to read a response."""
    slowest: float = 1_000.0
    """The number of bytes that extend the time limit for a body or a response by one second."""
    start_when_crowded: float = 10.0
    """An upper bound, in seconds, on `head`, `body_start` and `answer_start`. It applies while more than three quarters
    of the allowed connections are in use."""
    linger: float = 2.0
    """The number of seconds that a client has to read the last response before the server closes the connection."""

    def head_time(self, *, is_crowded: bool) -> float:
        """Return the number of seconds that a client may take for the header of a request."""
        return min(self.head, self.start_when_crowded) if is_crowded else self.head

    def handshake_time(self, *, is_crowded: bool) -> float:
        """Return the number of seconds that a client may take for the TLS handshake."""
        return min(self.handshake, self.start_when_crowded / 2) if is_crowded else self.handshake

    def idle_time(self, *, is_crowded: bool, has_answered: bool) -> float:
        """Return the number of seconds until the first byte of a request: of the first request on a connection, or of a
        request after a response.
        """
        head = self.head_time(is_crowded=is_crowded)
        return min(head, self.idle) if has_answered else head

    def body_time(self, octets: int, *, is_crowded: bool) -> float:
        """Return the time limit, in seconds, for a body of which `octets` bytes have arrived so far."""
        start = min(self.body_start, self.start_when_crowded) if is_crowded else self.body_start
        return min(self.body, start + octets / self.slowest)

    def answer_time(self, octets: int, *, is_crowded: bool) -> float:
        """Return the time limit, in seconds, for a client that has read `octets` bytes of a response so far."""
        start = min(self.answer_start, self.start_when_crowded) if is_crowded else self.answer_start
        return min(self.answer, start + octets / self.slowest)

    @property
    def refused(self) -> int:
        """The maximum number of refused connections that stay open until the client has read the response. The server
        closes all further refused connections immediately.
        """
        return max(4, self.connections // 20)


FULL = "The server has reached its limit on HTTP connections (--http-connections). Please try again."
TOO_MANY = "This address has reached its limit on HTTP connections (--http-connections-each). Please try again."


class HttpAdmission:
    """Counts connections, decides whether to accept a new connection, and logs the refused connections."""

    def __init__(self, bounds: HttpBounds, emit: events.Emit, state: ports.LimitState) -> None:
        self.bounds = bounds
        self.emit = emit
        self.connections = OpenConnections(bounds.connections, bounds.connections_each, state, "http")
        self.refused = RefusedConnections(emit)
        """Logs the refused connections."""
        self._lingering = 0

    def use(self, bounds: HttpBounds) -> None:
        """Use these limits for further connections."""
        self.bounds = bounds
        self.connections.limit(bounds.connections, bounds.connections_each)

    @property
    def is_crowded(self) -> bool:
        """Whether more than three quarters of the allowed connections are in use."""
        return self.connections.is_crowded

    def enter(self, peer: str) -> str | None:
        """Count a new connection, and return None. If the connection is refused, return the reason instead.

        The event loop must be running.
        """
        refusal = None
        if self.connections.is_full:
            refusal = FULL
        elif self.connections.is_at_limit(peer):
            refusal = TOO_MANY
        if refusal:
            self.refused.report(f"503 {refusal}", peer)
            return refusal
        self.connections.add(peer)
        return None

    def linger(self) -> bool:
        """Count a refused connection that stays open for a moment, and return True.

        If too many refused connections are open already, return False.
        """
        if self._lingering >= self.bounds.refused:
            return False
        self._lingering += 1
        return True

    def lingered(self) -> None:
        """Count a refused connection as closed after it has stayed open for a moment."""
        self._lingering -= 1

    def leave(self, peer: str) -> None:
        """Count an accepted connection as closed."""
        self.connections.remove(peer)
