"""Look-ups of the mail hosts of domains, with a real DNS server."""

import asyncio
import contextlib
import itertools
import random

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.peers.dns_server import SERVFAIL, SILENT, Zone
from tests.kit.servers.smtp_server import LOOPS
from waypost.delivery.smtp_client.dns import MAX_HOSTS, DnsFailed, NoSuchDomain, NullMx, Resolver

RECORDS = {
    "one.example": {"MX": ["10 mx.one.example."]},
    "ordered.example": {"MX": ["30 c.example.", "10 A.example.", "20 b.example."]},
    "alike.example": {"MX": ["10 a.example.", "10 b.example.", "10 c.example.", "20 last.example."]},
    "twice.example": {"MX": ["20 a.example.", "10 b.example.", "5 a.example."]},
    "implicit.example": {"A": ["192.0.2.1"]},
    "implicit6.example": {"AAAA": ["2001:db8::1"]},
    "half.example": {"MX": [], "A": [], "AAAA": ["2001:db8::1"]},
    "alias.example": {"CNAME": ["one.example."]},
    "none.example": {"MX": ["0 ."]},
    "confused.example": {"MX": ["0 .", "10 mx.example."]},
    "texts.example": {"TXT": ["nothing else"]},
    "broken.example": SERVFAIL,
    "silent.example": SILENT,
    "many.example": {"MX": [f"{n} mx{n:02}.many.example." for n in range(60)]},
    "endless.example": {"MX": [f"{n} mx{n}.endless.example." for n in range(600)]},
}


@pytest.fixture(scope="module")
def zone():
    with Zone(RECORDS) as zone:
        yield zone


def hosts(zone, domain, *, seed=0, seconds=PATIENCE, loop=LOOPS[1]):
    resolver = Resolver([zone.address[:2]], seconds=seconds, shuffler=random.Random(seed))
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(resolver.mail_hosts(domain))


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("one.example", ["mx.one.example"]),
        ("ordered.example", ["a.example", "b.example", "c.example"]),
        ("twice.example", ["a.example", "b.example"]),
        ("implicit.example", ["implicit.example"]),
        ("implicit6.example", ["implicit6.example"]),
        ("half.example", ["half.example"]),
        ("alias.example", ["mx.one.example"]),
        ("confused.example", ["mx.example"]),
    ],
)
def test_hosts_are_in_order_of_preference_and_a_domain_without_mx_is_its_own_host(zone, domain, expected, loop):
    assert hosts(zone, domain, loop=loop) == expected


def test_hosts_with_equal_preference_are_in_random_order_before_less_preferred_hosts():
    with Zone(RECORDS) as zone:
        found = {tuple(hosts(zone, "alike.example", seed=seed)) for seed in range(40)}
    assert found == {
        (*order, "last.example") for order in itertools.permutations(("a.example", "b.example", "c.example"))
    }


def test_only_the_most_preferred_hosts_are_returned_up_to_the_limit(zone):
    assert hosts(zone, "many.example") == [f"mx{n:02}.many.example" for n in range(MAX_HOSTS)]


@pytest.mark.parametrize(
    ("domain", "error"),
    [
        ("none.example", NullMx),
        ("nowhere.example", NoSuchDomain),
        ("texts.example", NoSuchDomain),
        ("a..example", NoSuchDomain),
        ("a" * 64 + ".example", NoSuchDomain),
        ("\ud800.example", NoSuchDomain),
        ("broken.example", DnsFailed),
    ],
)
def test_a_domain_without_a_usable_host_raises_the_right_error(zone, domain, error):
    with pytest.raises(error):
        hosts(zone, domain)


def test_a_lookup_at_a_silent_server_ends_at_the_time_limit(zone):
    with pytest.raises(DnsFailed, match="did not answer in time"):
        hosts(zone, "silent.example", seconds=0.1)


def test_a_lookup_without_any_name_server_fails(monkeypatch):
    import dns.asyncresolver
    import dns.resolver

    def nothing(*_, **__):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.asyncresolver, "Resolver", nothing)
    with pytest.raises(DnsFailed, match="no DNS server is known"):
        asyncio.run(Resolver(seconds=PATIENCE, shuffler=random.Random(0)).mail_hosts("one.example"))


def test_an_answer_is_cached_but_a_failure_is_not():
    async def scenario(resolver):
        for domain in ("one.example", "broken.example") * 3:
            with contextlib.suppress(DnsFailed):
                await resolver.mail_hosts(domain)

    with Zone(RECORDS) as zone:
        asyncio.run(scenario(Resolver([zone.address[:2]], seconds=PATIENCE, shuffler=random.Random(0))))
        assert zone.asked("one.example", "MX") == 1
        assert zone.asked("broken.example", "MX") >= 3


def test_a_domain_is_found_again_as_soon_as_the_dns_works():
    async def scenario(zone, resolver):
        with pytest.raises(DnsFailed):
            await resolver.mail_hosts("later.example")
        zone.records["later.example"] = {"MX": ["10 mx.example."]}
        return await resolver.mail_hosts("later.example")

    with Zone({"later.example": SERVFAIL}) as zone:
        resolver = Resolver([zone.address[:2]], seconds=PATIENCE, shuffler=random.Random(0))
        assert asyncio.run(scenario(zone, resolver)) == ["mx.example"]


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_an_answer_that_is_too_long_is_not_read(zone, loop):
    """An answer of 64 KiB would block the event loop for a fifth of a second."""
    assert len(hosts(zone, "many.example", loop=loop)) == MAX_HOSTS
    with pytest.raises(DnsFailed):
        hosts(zone, "endless.example", loop=loop)
    assert ("endless.example", "MX", "tcp") in zone.questions
