"""Counts open connections, in total and for each address or network, to enforce the limits on SMTP and HTTP clients."""

from waypost.app import ports
from waypost.domain.limits import networks

CROWDED = 0.75
"""If more than this fraction of the maximum number of connections is in use, the server shortens the clients' timeouts.
"""

_ALL = "all"
"""The only key in the table that counts all connections."""


def limit_of_site(total: int, each: int) -> int:
    """Return the maximum number of simultaneous connections from one IPv6 /48 network: half of `total`, rounded up, or
    `each` if `each` is greater.

    A provider may assign a whole /48, which contains 65,536 /64 networks, to one customer, so a /48 needs a limit of
    its own. `total` is the limit for all connections, and `each` is the limit for one address or /64 network.
    """
    return max(each, (total + 1) // 2)


class OpenConnections:
    """Counts open connections. IPv6 connections are counted by /64 network, because one host can have 2^64 addresses.

    There is also a limit for each /48 network, because a provider may assign a whole /48, which contains 65,536 /64
    networks, to one customer. All /64 networks of a /48 together may use about half of the connections.
    """

    def __init__(self, total: int, each: int, state: ports.LimitState, name: str) -> None:
        """`total` is the limit for all connections. `each` is the limit for one IPv4 address or one IPv6 /64
        network.

        `name` names the counted connections, such as `smtp`. All worker processes of a server count connections with
        the same name together.
        """
        self.limit(total, each)
        self._all = state.counts(f"{name} connections")
        self._by_network = state.counts(f"{name} connections of a network")
        self._by_site = state.counts(f"{name} connections of a site")

    def limit(self, total: int, each: int) -> None:
        """Use these limits for further connections."""
        self._total = total
        self._each = each
        self._of_site = limit_of_site(total, each)

    @property
    def count(self) -> int:
        """The number of open connections."""
        return self._all.of(_ALL)

    @property
    def networks(self) -> int:
        """The number of distinct IPv4 addresses and IPv6 /64 networks with open connections to this process."""
        return len(self._by_network)

    @property
    def is_full(self) -> bool:
        """Whether the total number of open connections has reached its limit."""
        return self.count >= self._total

    @property
    def is_crowded(self) -> bool:
        """Whether more than the fraction `CROWDED` of the maximum number of connections is in use."""
        return self.count > CROWDED * self._total

    def is_at_limit(self, peer: str) -> bool:
        """Return whether this address, or the network that it belongs to, has reached its connection limit."""
        found = networks.of(peer)
        if found.is_ipv6 and self._by_site.of(found.site) >= self._of_site:
            return True
        return self._by_network.of(found.host) >= self._each

    def add(self, peer: str) -> None:
        """Add a newly opened connection to the counts."""
        self._change(peer, 1)

    def remove(self, peer: str) -> None:
        """Remove a closed connection from the counts."""
        self._change(peer, -1)

    def _change(self, peer: str, by: int) -> None:
        found = networks.of(peer)
        self._all.change(_ALL, by)
        self._by_network.change(found.host, by)
        if found.is_ipv6:
            self._by_site.change(found.site, by)
