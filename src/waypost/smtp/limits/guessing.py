"""Slows down clients that guess addresses. The server delays its reply to such a client before it looks up the address.

The reply to RCPT reveals whether an address exists. After many unknown recipients, in one or more sessions, each
further reply to the client is delayed. The delay is the same for existing and for unknown addresses, so a client learns
nothing by disconnecting early. The delayed replies to one network are sent one after the other, even if the network has
many connections.

Here, a network is the address range that one customer typically has: one IPv4 address, or one IPv6 /64. The surrounding
/24 or /48 network has separate, higher limits, because it may contain other customers.
"""

from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.app.rate_limits import Buckets
from waypost.domain.limits import networks
from waypost.domain.limits.rates import Rate

LONGEST_WAIT = 20.0
"""The longest delay of a reply, in seconds. If the delay would be longer, the client gets a temporary failure."""

GROWTH = 0.025
"""For each unknown recipient in excess of `Size.free`, the time between two replies grows by this fraction of
`longest_step`. After 40 such recipients, the time between two replies is `longest_step`.
"""


class Size(Struct, frozen=True):
    """The limits on unknown recipients for networks of one size: the networks of single customers, or the surrounding
    networks.
    """

    prefix: tuple[int, int]
    """The prefix lengths of the network for IPv4 and for IPv6."""
    free: Rate
    """The highest rate of unknown recipients that causes no delay. It allows for typing errors and outdated address
    lists."""
    longest_step: float
    """The longest time between two delayed replies to one network, in seconds."""


SIZES = (
    Size(networks.HOST, free=Rate(per_second=0.1, burst=20), longest_step=2.0),
    Size(networks.SITE, free=Rate(per_second=1.0, burst=200), longest_step=0.2),
)


class Guessing:
    """Counts the unknown recipients that each network sends, and computes how long to delay the next reply to the
    network.
    """

    def __init__(self, state: ports.LimitState) -> None:
        self._books = [_Book(size, state) for size in SIZES]

    def count(self, peer: str, now: datetime) -> None:
        """Count an unknown recipient from the client at this IP address."""
        for book, network in self._of(peer):
            book.count(network, now)

    def wait(self, peer: str, now: datetime) -> float | None:
        """Return the number of seconds by which to delay the reply to RCPT, or None if the delay would be too long.

        Call this method once for each RCPT command, for known and unknown recipients alike.
        """
        wait = 0.0
        for book, network in self._of(peer):
            turn = book.turn(network, now)
            if turn is None:
                return None
            wait = max(wait, turn)
        return wait

    def must_wait(self, peer: str, now: datetime) -> bool:
        """Return whether the next reply to RCPT must be delayed. This method does not reserve a time for the reply."""
        return any(book.is_over(network, now) for book, network in self._of(peer))

    def _of(self, peer: str) -> tuple[tuple["_Book", str], ...]:
        found = networks.of(peer)
        host, site = self._books
        return (host, found.host), (site, found.site)


class _Book:
    """The counts of unknown recipients for all networks of one size."""

    def __init__(self, size: Size, state: ports.LimitState) -> None:
        self._longest_step = size.longest_step
        self._interval = 1 / size.free.per_second
        of_size = "/".join(map(str, size.prefix))
        self._unknown = Buckets(
            size.free, state.times(f"guessed recipients {of_size}"), patience=self._interval / GROWTH
        )
        self._last_reply = state.times(f"delayed replies {of_size}")
        """For each network, the time of the last delayed reply."""

    def count(self, network: str, now: datetime) -> None:
        self._unknown.take(network, now)

    def is_over(self, network: str, now: datetime) -> bool:
        return self._unknown.wait(network, now) > 0

    def turn(self, network: str, now: datetime) -> float | None:
        """Reserve a time for the next reply to a network.

        Returns the number of seconds until the reply may be sent, or None if the reply would have to wait too long.
        """
        over = self._unknown.wait(network, now) / self._interval
        if not over:  # the usual case
            return 0.0
        seconds = now.timestamp()
        with self._last_reply.locked():
            before = min(self._last_reply.get(network), seconds + LONGEST_WAIT)  # the clock may have been set back
            reply = max(before, seconds) + self._longest_step * min(1.0, over * GROWTH)
            if reply > seconds + LONGEST_WAIT:
                return None
            self._last_reply.put(network, reply, now=seconds)
        return reply - seconds
