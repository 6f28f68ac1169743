"""Slows down clients that guess addresses, before it is known whether the next address exists.

A client learns from the reply to RCPT whether an address exists. One that has named many unknown recipients, in
whatever session, waits for each further reply. It waits as long for an address that exists as for one that does not, so
it cannot hang up early and know. The replies that a network waits for come one after the other, however many
connections ask.

Here a network is what one customer can have: one IPv4 address, or a /64 with IPv6. The /24 or /48 around it has higher
limits of its own, because others may be in it.
"""

from dataclasses import dataclass
from datetime import datetime

from waypost.app.rate_limits import MAX_BUCKETS, Buckets
from waypost.domain.limits import networks
from waypost.domain.limits.rates import Rate

LONGEST_WAIT = 20.0
"""The longest delay of a reply, in seconds. A client that would have to wait longer gets a temporary failure."""

GROWTH = 0.025
"""Each unknown recipient over the free ones lengthens a step by this part of the longest step: 40 reach it."""


@dataclass(frozen=True, slots=True)
class Size:
    """The limits of unknown recipients for networks of one size."""

    prefix: tuple[int, int]
    """The prefix length with IPv4 and with IPv6."""
    free: Rate
    """Unknown recipients without a delay: typing errors, and old address lists."""
    longest_step: float
    """The longest time between two replies, in seconds."""


SIZES = (
    Size(networks.HOST, free=Rate(per_second=0.1, burst=20), longest_step=2.0),
    Size(networks.SITE, free=Rate(per_second=1.0, burst=200), longest_step=0.2),
)


class Guessing:
    """Counts the unknown recipients of each network, and computes the delay of the next reply to it."""

    def __init__(self) -> None:
        self._books = [_Book(size) for size in SIZES]

    def count(self, peer: str, now: datetime) -> None:
        """Count an unknown recipient from an address."""
        for book, network in self._of(peer):
            book.count(network, now)

    def wait(self, peer: str, now: datetime) -> float | None:
        """Seconds that the reply to RCPT is delayed, for known and unknown recipients; None if the delay would be too
        long. Call it once for each.
        """
        wait = 0.0
        for book, network in self._of(peer):
            turn = book.turn(network, now)
            if turn is None:
                return None
            wait = max(wait, turn)
        return wait

    def _of(self, peer: str) -> tuple[tuple["_Book", str], ...]:
        found = networks.of(peer)
        host, site = self._books
        return (host, found.host), (site, found.site)


class _Book:
    """The counts of the networks of one size."""

    def __init__(self, size: Size) -> None:
        self._longest_step = size.longest_step
        self._interval = 1 / size.free.per_second
        self._unknown = Buckets(size.free, patience=self._interval / GROWTH)
        self._last_reply: dict[str, float] = {}
        """The moment of the last reply that a network waits for."""

    def count(self, network: str, now: datetime) -> None:
        self._unknown.take(network, now)

    def turn(self, network: str, now: datetime) -> float | None:
        """Take the next turn of a network; returns the seconds until it, or None if it is too far away."""
        over = self._unknown.wait(network, now) / self._interval
        if not over:  # as nearly always
            return 0.0
        seconds = now.timestamp()
        before = min(self._last_reply.get(network, seconds), seconds + LONGEST_WAIT)  # the clock may have gone back
        reply = max(before, seconds) + self._longest_step * min(1.0, over * GROWTH)
        if reply > seconds + LONGEST_WAIT:
            return None
        self._last_reply[network] = reply
        if len(self._last_reply) > MAX_BUCKETS:
            self._forget(seconds)
        return reply - seconds

    def _forget(self, now: float) -> None:
        waiting = {network: reply for network, reply in self._last_reply.items() if reply > now}
        newest = sorted(waiting, key=waiting.__getitem__)[-MAX_BUCKETS // 2 :]
        self._last_reply = {network: waiting[network] for network in newest}
