"""Counts open connections, in all and of each address or network, for the limits of both edges."""

from collections import Counter

from waypost.domain.limits import networks

CROWDED = 0.75
"""The share of connections in use from which clients have less time."""


def limit_of_site(total: int, each: int) -> int:
    """At once from one /48 network with IPv6, in which one customer has 65,536 /64 networks: half of all.

    `total` is the limit of all connections, `each` that of one address or /64.
    """
    return max(each, (total + 1) // 2)


class OpenConnections:
    """Counts connections. With IPv6 a host has 2^64 addresses, so its network counts.

    One customer of a provider has a /48, with 65,536 such networks, which together may have half of the connections.
    """

    def __init__(self, total: int, each: int) -> None:
        """`total` is the limit of all connections, `each` that of one address, or one /64 network with IPv6."""
        self._total = total
        self._each = each
        self._of_site = limit_of_site(total, each)
        self.count = 0
        """How many there are."""
        self._by_network: Counter[str] = Counter()
        self._by_site: Counter[str] = Counter()

    @property
    def networks(self) -> int:
        """The number of addresses, or /64 networks, that they come from."""
        return len(self._by_network)

    @property
    def is_full(self) -> bool:
        """Whether the limit of all connections is reached."""
        return self.count >= self._total

    @property
    def is_crowded(self) -> bool:
        """Whether connections are about to run out."""
        return self.count > CROWDED * self._total

    def is_at_limit(self, peer: str) -> bool:
        """Whether this address has reached its limit, alone or with its network."""
        found = networks.of(peer)
        if found.is_ipv6 and self._by_site[found.site] >= self._of_site:
            return True
        return self._by_network[found.host] >= self._each

    def add(self, peer: str) -> None:
        """Count a connection in."""
        found = networks.of(peer)
        self.count += 1
        self._by_network[found.host] += 1
        if found.is_ipv6:
            self._by_site[found.site] += 1

    def remove(self, peer: str) -> None:
        """Count a connection as closed that was counted as opened."""
        found = networks.of(peer)
        self.count -= 1
        _remove(self._by_network, found.host)
        if found.is_ipv6:
            _remove(self._by_site, found.site)


def _remove(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
