"""SPF (RFC 7208) with the records of a local zone."""

import pytest

from tests.kit.patience import NEVER, PATIENCE
from tests.kit.peers.dns_server import SERVFAIL, SILENT, Zone
from tests.kit.signed_mail import verdicts
from waypost.domain.mailauth.verdicts import Claim, Outcome
from waypost.mailauth import spf_check
from waypost.mailauth.resolver import Questions, Resolver

PEER4, PEER6 = "192.0.2.1", "2001:db8::1"


def spf(zone_records, sender="ann@example.com", peer=PEER4, helo="mx.example.com"):
    with Zone(zone_records) as zone:
        return verdicts(zone, b"", Claim(peer, helo, sender)).spf


def text(record):
    return {"example.com": {"TXT": [record]}}


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ("v=spf1 +all", Outcome.PASS),
        ("v=spf1 -all", Outcome.FAIL),
        ("v=spf1 ~all", Outcome.SOFTFAIL),
        ("v=spf1 ?all", Outcome.NEUTRAL),
        ("v=spf1", Outcome.NEUTRAL),
        ("v=spf1 ip4:192.0.2.0/24 -all", Outcome.PASS),
        ("v=spf1 ip4:198.51.100.0/24 -all", Outcome.FAIL),
        ("v=spf1 ip6:2001:db8::/32 -all", Outcome.FAIL),
        ("v=spf1 unknown -all", Outcome.PERMERROR),
        ("v=spf1 ip4:999.0.2.0/24 -all", Outcome.PERMERROR),
        ("v=spf2 -all", Outcome.NONE),
        ("v=spf1 " + "ip4:198.51.100.1 " * 500 + "+all", Outcome.PERMERROR),
    ],
)
def test_a_record_decides_the_outcome(record, outcome):
    assert spf(text(record)).outcome is outcome


MECHANISMS = {
    "a.example.com": {"A": [PEER4], "AAAA": [PEER6]},
    "alias.example.com": {"CNAME": ["a.example.com."]},
    "example.net": {"MX": ["10 a.example.com."], "TXT": ["v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"]},
    "none.example.net": {"TXT": ["v=spf1 -all"]},
    "1.2.0.192.in-addr.example.com": {"A": ["127.0.0.2"]},
    "ann.example.com._spf.example.com": {"A": ["127.0.0.2"]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["a.example.com."]},
}


@pytest.mark.parametrize("peer", [PEER4, PEER6])
@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ("v=spf1 a:a.example.com -all", Outcome.PASS),
        ("v=spf1 a:alias.example.com -all", Outcome.PASS),
        ("v=spf1 a:nowhere.example.com -all", Outcome.FAIL),
        ("v=spf1 mx:example.net -all", Outcome.PASS),
        ("v=spf1 include:example.net -all", Outcome.PASS),
        ("v=spf1 include:none.example.net ~all", Outcome.SOFTFAIL),
        ("v=spf1 include:nowhere.example.net -all", Outcome.PERMERROR),
        ("v=spf1 redirect=example.net", Outcome.PASS),
        ("v=spf1 redirect=none.example.net", Outcome.FAIL),
        ("v=spf1 exists:%{l}.%{d}._spf.example.com -all", Outcome.PASS),
        ("v=spf1 -exists:%{l}.nowhere.%{d2} +all exp=nowhere.example.com", Outcome.PASS),
    ],
)
def test_the_mechanisms_of_a_record_are_evaluated(peer, record, outcome):
    assert spf(MECHANISMS | text(record), peer=peer).outcome is outcome


@pytest.mark.parametrize(
    "record", ["v=spf1 exists:%{ir}.%{v}.example.com -all", "v=spf1 ptr:example.com -all", "v=spf1 mx:example.net/24"]
)
def test_the_mechanisms_of_a_record_are_evaluated_for_ipv4(record):
    assert spf(MECHANISMS | text(record)).outcome is Outcome.PASS


def test_more_than_ten_lookups_are_an_error():
    names = {f"{n}.example.net": {"TXT": ["v=spf1 ?all"]} for n in range(11)}
    record = "v=spf1 " + " ".join(f"include:{name}" for name in names) + " +all"
    found = spf(names | text(record))
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, "Too many DNS lookups")


REVERSE = "1.2.0.192.in-addr.arpa"


@pytest.mark.parametrize("record", ["v=spf1 ptr -all", "v=spf1 exists:%{p} -all"])
@pytest.mark.parametrize(
    ("reverse", "outcome"),
    [
        ({"PTR": ["broken.example.com.", "mx.example.com."]}, Outcome.PASS),
        ({"PTR": ["loop.example.com.", "mx.example.com."]}, Outcome.PASS),
        ({"PTR": ["broken.example.com."]}, Outcome.FAIL),
        (SERVFAIL, Outcome.FAIL),
    ],
)
def test_a_host_name_of_the_client_whose_lookup_fails_is_skipped(record, reverse, outcome):
    names = {
        REVERSE: reverse,
        "mx.example.com": {"A": [PEER4]},
        "broken.example.com": SERVFAIL,
        "loop.example.com": {"CNAME": ["loop.example.com."]},
    }
    assert spf(names | text(record)).outcome is outcome


def test_at_most_ten_host_names_of_the_client_are_looked_up():
    names = {f"{number}.example.com": {"A": ["192.0.2.99"]} for number in range(20)}
    records = names | {REVERSE: {"PTR": [f"{name}." for name in names]}} | text("v=spf1 ptr -all")
    with Zone(records) as zone:
        found = verdicts(zone, b"", Claim(PEER4, "mx.example.com", "ann@example.com")).spf
        assert found.outcome is Outcome.FAIL
        assert sum(zone.asked(name, "A") for name in names) == 10


def test_more_than_two_void_lookups_are_an_error():
    found = spf(text("v=spf1 a:1.example.net a:2.example.net a:3.example.net +all"))
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, "more than 2 void lookups")


def test_a_record_that_includes_itself_is_an_error():
    found = spf(text("v=spf1 include:example.net -all") | {"example.net": {"TXT": ["v=spf1 include:example.com -all"]}})
    assert found.outcome is Outcome.PERMERROR


def test_two_records_are_an_error():
    assert spf({"example.com": {"TXT": ["v=spf1 -all", "v=spf1 +all"]}}).outcome is Outcome.PERMERROR


def test_the_null_sender_is_checked_by_its_helo_name():
    found = spf({"mx.example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}}, sender="")
    assert (found.outcome, found.domain, found.identity) == (Outcome.PASS, "mx.example.com", "helo")


@pytest.mark.parametrize(
    ("sender", "helo"),
    [
        ("", "[192.0.2.1]"),
        ("", "localhost"),
        ("", ""),
        ("ann", "mx.example.com"),
        ("ann@\N{BALLOT BOX}..com", "mx.example.com"),
        ("ann@" + "a" * 64 + ".com", "mx.example.com"),
        ("ann@nowhere.test", "mx.example.com"),
    ],
)
def test_a_domain_without_a_record_has_no_result(sender, helo):
    assert spf(text("v=spf1 +all"), sender=sender, helo=helo).outcome is Outcome.NONE


def test_a_sender_without_a_local_part_is_checked_as_postmaster():
    zone = text("v=spf1 exists:%{l}.example.net -all") | {"postmaster.example.net": {"A": ["127.0.0.2"]}}
    assert spf(zone, "@example.com").outcome is Outcome.PASS


def test_an_internationalized_domain_is_looked_up_by_its_a_labels():
    assert spf({"xn--bcher-kva.example": {"TXT": ["v=spf1 +all"]}}, "ann@bücher.example").outcome is Outcome.PASS


@pytest.mark.parametrize(
    "sender", ['"a b"@example.com', "%{h}@example.com", "a\x00b@example.com", "ä@example.com", "a@b@example.com"]
)
def test_a_hostile_local_part_does_not_pass(sender):
    found = spf(text("v=spf1 exists:%{l}.%{s}.example.com -all"), sender)
    assert found.outcome in {Outcome.FAIL, Outcome.PERMERROR}


def test_a_peer_that_is_not_an_ip_address_is_an_error():
    assert spf(text("v=spf1 +all"), peer="unix:").outcome is Outcome.PERMERROR


def test_a_dns_failure_is_a_temporary_error():
    assert spf({"example.com": SERVFAIL}).outcome is Outcome.TEMPERROR


def test_a_silent_dns_server_is_a_temporary_error_within_the_time_limit():
    with Zone({"example.com": SILENT}) as zone:
        found = verdicts(zone, b"", Claim(PEER4, "mx.example.com", "ann@example.com"), 1.0)
    assert found.spf.outcome is Outcome.TEMPERROR
    assert zone.asked("example.com") <= 1  # there is no time for a second try


def test_a_record_with_more_macros_than_the_limit_is_an_error():
    few, many = "%{i}" * spf_check.MACROS_LIMIT, "%{i}" * (spf_check.MACROS_LIMIT + 1)
    assert spf(text(f"v=spf1 exists:{few}.example.com ?all")).outcome is Outcome.NEUTRAL
    found = spf(text(f"v=spf1 exists:{many}.example.com ?all"))
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, "record with more than 50 macros")


@pytest.mark.parametrize("record", ["v=spf1 ptr:example.com -all", "v=spf1 exists:%{p}.example.net -all"])
def test_a_refused_reverse_lookup_of_the_client_is_a_temporary_error(record):
    """After a DNS error, `ptr` does not match (RFC 7208 section 5.5). A refused query is not such an error."""
    with Zone(text(record)) as zone:
        resolver = Resolver([zone.address])
        with resolver._unanswered.counting("2.0.192.in-addr.arpa"):
            resolver._unanswered._silent_until["2.0.192.in-addr.arpa"] += NEVER
        with resolver._unanswered.asking("9.2.0.192.in-addr.arpa"):
            found = spf_check.check(Claim(PEER4, "mx", "ann@example.com"), Questions(resolver, PATIENCE))
    assert found.outcome is Outcome.TEMPERROR
    assert zone.asked("1.2.0.192.in-addr.arpa", "PTR") == 0


@pytest.mark.parametrize("broken", [SERVFAIL, {"A": ["198.51.100.1"]}])
def test_a_host_name_of_the_client_whose_lookup_fails_does_not_match(broken):
    zone = text("v=spf1 ptr:example.com -all") | {
        "1.2.0.192.in-addr.arpa": {"PTR": ["a.example.com."]},
        "a.example.com": broken,
    }
    assert spf(zone).outcome is Outcome.FAIL


def test_a_refused_lookup_of_a_host_name_of_the_client_is_a_temporary_error():
    zone_records = text("v=spf1 ptr:example.net -all") | {"1.2.0.192.in-addr.arpa": {"PTR": ["a.example.net."]}}
    with Zone(zone_records) as zone:
        resolver = Resolver([zone.address])
        with resolver._unanswered.counting("example.net"):
            resolver._unanswered._silent_until["example.net"] += NEVER
        with resolver._unanswered.asking("b.example.net"):
            found = spf_check.check(Claim(PEER4, "mx", "ann@example.com"), Questions(resolver, PATIENCE))
    assert found.outcome is Outcome.TEMPERROR


def test_a_lack_of_memory_gives_no_spf_result(monkeypatch):
    def fails(_):
        raise MemoryError

    monkeypatch.setattr(spf_check._Query, "check", fails)
    with pytest.raises(MemoryError):
        spf(text("v=spf1 -all"))
