"""Which network an IP address is counted for, because one host, or one customer, can use many addresses."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

HOST = (32, 64)
"""The prefix length that one host has, with IPv4 and with IPv6 (RFC 4291 section 2.5.4)."""

SITE = (24, 48)
"""The prefix length that one customer of a provider may have (RFC 6177); with IPv4, a network of neighbours."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks that an address is in, as text. With IPv4 a host is its address."""

    host: str
    site: str
    """Empty for a text that is not an IP address."""
    is_ipv6: bool = False


@lru_cache(maxsize=16_384)
def of(source: str) -> Networks:
    """The networks of an IP address. An IPv4-mapped one is IPv4, and the scope of a link-local one does not count.

    A peer without an IP address, such as a Unix socket, is counted by itself.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return Networks(source, "")
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            groups = address.exploded
            return Networks(f"{groups[:19]}::/64", f"{groups[:14]}::/48", is_ipv6=True)
        address = address.ipv4_mapped
    return Networks(str(address), f"{str(address).rpartition('.')[0]}.0/24")
