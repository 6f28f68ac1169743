"""Decide which IP addresses are public. Deliveries to private addresses are allowed only if the route permits them."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # behind a provider's NAT (RFC 6598)
        "127.0.0.0/8",  # this machine
        "169.254.0.0/16",  # link-local, which includes cloud metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocols
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
"""The IANA registry of special-purpose addresses (RFC 6890). The registry is copied here because the list in Python's
`ipaddress` differs between patch releases.
"""

_PUBLIC_V6 = IPv6Network("2000::/3")
"""All global unicast addresses (RFC 4291). Loopback, link-local, unique local, multicast and unassigned addresses are
outside this network.
"""

_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocols, including Teredo
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation (RFC 9637)
    )
)

_WITH_V4 = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052), which connects IPv6 hosts to IPv4 hosts
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)
"""IPv6 networks whose addresses contain an IPv4 address, each with the number of bits that follow the IPv4 address."""


def is_public(text: str) -> bool:
    """Whether an IP address is public. A string that is not an IP address is not public."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        for network, bits in _WITH_V4:
            if address in network:
                return _is_public_v4(IPv4Address(int(address) >> bits & 0xFFFF_FFFF))
        return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)
    return _is_public_v4(address)


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_V4)
