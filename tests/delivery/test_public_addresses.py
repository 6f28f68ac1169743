"""The classification of IP addresses as public, private, or local to this machine."""

import pytest

from waypost.delivery.public_addresses import is_public

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.0.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "fe80::1",
    "fe80::1%lo", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "ff0e::1", "100::1", "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2001:20::1",
    "2002:7f00:1::", "2002:a00:1::", "2002:c0a8:101::1", "3fff::1", "4000::1", "5f00::1", "nonsense",
    "2130706433", "0x7f.1", "127.1", "localhost",
]  # fmt: skip

PUBLIC = [
    "1.1.1.1", "9.9.9.9", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1",
    "223.255.255.254", "2606:4700::1111", "2a00:1450::1", "2001:200::1", "2001:4860:4860::8888",
    "::ffff:9.9.9.9", "64:ff9b::9.9.9.9", "2002:909:909::1",
]  # fmt: skip


@pytest.mark.parametrize(("addresses", "expected"), [(PRIVATE, False), (PUBLIC, True)], ids=["private", "public"])
def test_addresses_are_classified_as_public_or_private(addresses, expected):
    assert [address for address in addresses if is_public(address) is not expected] == []
