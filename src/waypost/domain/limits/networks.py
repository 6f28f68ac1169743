"""Groups clients by network, because one host or one customer can use many IP addresses."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from msgspec import Struct

HOST = (32, 64)
"""The prefix lengths of a single host's network, for IPv4 and for IPv6 (RFC 4291 section 2.5.4)."""

SITE = (24, 48)
"""The prefix lengths of the surrounding network: for IPv4, a network of neighbouring hosts; for IPv6, a single
customer's network (RFC 6177).
"""


class Networks(Struct, frozen=True):
    """The networks to which an IP address belongs, as strings. For IPv4, `host` is the address itself."""

    host: str
    site: str
    """The network of neighbouring hosts (IPv4) or of a single customer (IPv6); empty if the peer has no IP address."""
    is_ipv6: bool = False


@lru_cache(maxsize=1024)
def of(source: str) -> Networks:
    """Return the networks to which an IP address belongs.

    An IPv4-mapped address is treated as IPv4, and the scope of a link-local address is ignored. A peer without an IP
    address, such as a client that connects over a Unix socket, is treated as a separate host. The result is cached,
    because the server needs it several times for each connection.
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
