"""Fair shares: whom something counts for, and how much one may hold."""

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
def test_an_address_counts_for_itself_and_for_its_network(address, own, network):
    assert shares.of_address(address) == (Share(own, NARROW), Share(network, WIDE))


def test_what_is_no_address_counts_for_itself():
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
def test_a_name_counts_for_its_last_labels(name, found):
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
def test_whose_name_it_most_likely_is(name, owner):
    assert shares.owner_of(name) == owner


def fill(total, *users):
    """How much each of these users holds if each takes one in turn until none may have more."""
    held, free = Counter(), total
    went_on = True
    while went_on:
        went_on = False
        for user in users:
            if shares.allows(user, 1, free=free, held_by=held.__getitem__):
                free -= 1
                held.update(share.holder for share in user)
                went_on = True
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
def test_how_32_places_are_shared(users, each, free):
    assert fill(32, *map(shares.of_address, users)) == (each, free)


@given(st.lists(st.ip_addresses().map(str), max_size=31, unique_by=lambda each: shares.of_address(each)[1]))
def test_something_is_left_for_the_next_network(users):
    _, free = fill(32, *map(shares.of_address, users))
    assert free
    assert shares.allows(shares.of_address("local socket"), 1, free=free, held_by=lambda _: 0)


@pytest.mark.parametrize(("amount", "is_allowed"), [(100, True), (101, False)])
def test_who_holds_nothing_may_have_all_that_is_free(amount, is_allowed):
    assert shares.allows(shares.of_address("192.0.2.1"), amount, free=100, held_by=lambda _: 0) is is_allowed
