"""The networks for which an IP address is counted."""

import pytest

from waypost.domain.limits import networks
from waypost.domain.limits.networks import Networks


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("192.0.2.1", Networks("192.0.2.1", "192.0.2.0/24")),
        ("::ffff:192.0.2.1", Networks("192.0.2.1", "192.0.2.0/24")),
        ("2001:db8:1:2::3", Networks("2001:0db8:0001:0002::/64", "2001:0db8:0001::/48", is_ipv6=True)),
        ("2001:db8:1:ffff:a:b:c:d", Networks("2001:0db8:0001:ffff::/64", "2001:0db8:0001::/48", is_ipv6=True)),
        ("fe80::1%eth0", Networks("fe80:0000:0000:0000::/64", "fe80:0000:0000::/48", is_ipv6=True)),
        ("local socket", Networks("local socket", "")),
        ("", Networks("", "")),
    ],
)
def test_an_ip_address_is_counted_for_its_host_and_for_its_network(source, found):
    assert networks.of(source) == found
