"""Fair shares: the holders for which a request is counted, and how much each may hold."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.limits import shares
from waypost.domain.limits.shares import NARROW, WIDE, Share


@pytest.mark.parametrize(
    ("address", "own", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:0db8:0001:0002::/64", "2001:0db8:0001::/48"),
        ("2001:db8:1:ffff:a:b:c:d", "2001:0db8:0001:ffff::/64", "2001:0db8:0001::/48"),
    ],
)
def test_an_ip_address_is_counted_for_itself_and_for_its_network(address, own, network):
    assert shares.of_address(address) == (Share(own, NARROW), Share(network, WIDE))


def test_a_source_that_is_not_an_ip_address_is_counted_for_itself():
    assert shares.of_address("local socket") == (Share("local socket", NARROW),)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("example", [("example", WIDE)]),
        ("Slow.Example.", [("slow.example", WIDE)]),
        ("m1.slow.example", [("m1.slow.example", NARROW), ("slow.example", WIDE)]),
        ("_dmarc.a.b.slow.example", [("b.slow.example", NARROW), ("slow.example", WIDE)]),
        ("_dmarc.bank.co.uk", [("bank.co.uk", NARROW), ("co.uk", WIDE)]),
        ("", [("", WIDE)]),
        ("1.100.51.198.in-addr.arpa", [("100.51.198.in-addr.arpa", WIDE)]),
    ],
)
def test_a_domain_name_is_counted_for_its_last_labels(name, found):
    assert shares.of_domain(name) == tuple(Share(*each) for each in found)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("_dmarc.m1.Slow.example.", "slow.example"),
        ("slow.example", "slow.example"),
        ("example", "example"),
        ("_dmarc.bank.co.uk", "bank.co.uk"),
        ("co.uk", "co.uk"),
        ("m1.slow.de", "slow.de"),
        ("1.100.51.198.in-addr.arpa", "100.51.198.in-addr.arpa"),
        (f"{'1.' * 20}{'2.' * 12}ip6.arpa", f"{'2.' * 12}ip6.arpa"),
        ("x.e164.arpa", "x.e164.arpa"),
        ("arpa", "arpa"),
    ],
)
def test_the_owner_of_a_name_is_guessed_from_its_labels(name, owner):
    assert shares.owner_of(name) == owner


def fill(total, *users):
    """The places that each user holds after the users took one place in turn until no user may take more."""
    held, free = Counter(), total
    has_changed = True
    while has_changed:
        has_changed = False
        for user in users:
            if shares.allows(user, 1, free=free, held_by=held.__getitem__):
                free -= 1
                held.update(share.holder for share in user)
                has_changed = True
    return [held[user[0].holder] for user in users], free


@pytest.mark.parametrize(
    ("users", "each", "free"),
    [
        (["192.0.2.1"], [16], 16),
        (["192.0.2.1", "198.51.100.1"], [11, 11], 10),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"], [6, 6, 5, 5], 10),
        (["2001:db8:0:1::", "2001:db8:0:2::", "2001:db8:0:3::"], [8, 7, 7], 10),
    ],
)
def test_users_get_fair_shares_of_32_places(users, each, free):
    assert fill(32, *map(shares.of_address, users)) == (each, free)


@given(st.lists(st.ip_addresses().map(str), max_size=31, unique_by=lambda each: shares.of_address(each)[1]))
def test_a_place_is_left_for_the_next_network(users):
    _, free = fill(32, *map(shares.of_address, users))
    assert free
    assert shares.allows(shares.of_address("local socket"), 1, free=free, held_by=lambda _: 0)


@pytest.mark.parametrize(("amount", "is_allowed"), [(100, True), (101, False)])
def test_a_holder_without_places_may_take_everything_that_is_free(amount, is_allowed):
    assert shares.allows(shares.of_address("192.0.2.1"), amount, free=100, held_by=lambda _: 0) is is_allowed
