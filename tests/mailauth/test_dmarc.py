"""SPF, DKIM and DMARC together, and the ruling about the message if DMARC is enforced."""

import pytest

from tests.kit.peers.dns_server import SERVFAIL, SILENT, Zone
from tests.kit.signed_mail import CLAIM, MESSAGE, sign, verdicts, zone_of
from waypost.domain.mailauth.enforcement import Ruling, rule
from waypost.domain.mailauth.from_header import MAX_NAMED, Naming
from waypost.domain.mailauth.verdicts import Claim, Outcome


def ruling(found):
    return rule(found, enforces=True)


ELSEWHERE = Claim("198.51.100.1", "mx.evil.example", "x@evil.example")


@pytest.mark.parametrize(
    ("message", "claim", "outcome"),
    [
        (MESSAGE, CLAIM, Outcome.PASS),
        (MESSAGE, Claim("192.0.2.1", "mx.example.net", "x@example.net"), Outcome.FAIL),
        (sign(), ELSEWHERE, Outcome.PASS),
        (sign().replace(b"A line", b"A lime"), ELSEWHERE, Outcome.FAIL),
        (sign().replace(b"A line", b"A lime"), CLAIM, Outcome.PASS),
        (MESSAGE, ELSEWHERE, Outcome.FAIL),
        (MESSAGE.replace(b"@example.com", b"@news.example.com"), CLAIM, Outcome.PASS),
        (MESSAGE.replace(b"@example.com", b"@news.example.com"), ELSEWHERE, Outcome.FAIL),
        (MESSAGE.replace(b"@example.com", b"@nobody.example"), ELSEWHERE, Outcome.NONE),
        (b"From: x@evil.example\r\n" + MESSAGE, ELSEWHERE, Outcome.FAIL),
        (b"From: x@evil.example\r\n" + MESSAGE, CLAIM, Outcome.PERMERROR),
        (MESSAGE.replace(b"Ann <", b'"Ann <'), ELSEWHERE, Outcome.FAIL),
        (MESSAGE.replace(b"Ann <", b"Ann, x@evil.example <"), ELSEWHERE, Outcome.FAIL),
        (MESSAGE.replace(b"Ann <", b"Ann, x@evil.example <"), CLAIM, Outcome.PERMERROR),
        (MESSAGE.replace(b"Ann <", b"ann@example.com <"), CLAIM, Outcome.PASS),
        (MESSAGE.replace(b"Ann <", b"Bee, Ann <"), CLAIM, Outcome.PASS),
        (b"To: a@b\r\n\r\n", ELSEWHERE, Outcome.PERMERROR),
        (b"", ELSEWHERE, Outcome.PERMERROR),
    ],
)
def test_a_message_passes_with_an_aligned_result_and_is_refused_otherwise(message, claim, outcome):
    with Zone(zone_of()) as zone:
        found = verdicts(zone, message, claim)
    assert found.dmarc.outcome is outcome
    assert ruling(found) is (Ruling.REFUSED_AS_FORGED if outcome is Outcome.FAIL else Ruling.ACCEPTED)


@pytest.mark.parametrize("policy", ["none", "quarantine"])
def test_a_message_is_refused_only_if_the_policy_is_reject(policy):
    with Zone(zone_of(dmarc=f"v=DMARC1; p={policy}")) as zone:
        found = verdicts(zone, MESSAGE, ELSEWHERE)
    assert (found.dmarc.outcome, found.dmarc.policy) == (Outcome.FAIL, policy)
    assert ruling(found) is Ruling.ACCEPTED


@pytest.mark.parametrize("name", ["_dmarc.example.com", "sel._domainkey.example.com"])
def test_a_message_is_deferred_while_a_dns_server_of_its_author_s_domain_fails(name):
    with Zone(zone_of() | {name: SERVFAIL}) as zone:
        found = verdicts(zone, sign(), ELSEWHERE)
    assert found.dmarc.outcome is Outcome.TEMPERROR
    assert ruling(found) is Ruling.DEFERRED_IN_DOUBT


def test_a_message_is_accepted_if_an_unknown_key_could_not_cause_its_refusal():
    with Zone(zone_of(dmarc="v=DMARC1; p=none") | {"sel._domainkey.example.com": SERVFAIL}) as zone:
        found = verdicts(zone, sign(), ELSEWHERE)
    assert (found.dmarc.outcome, found.dmarc.policy) == (Outcome.TEMPERROR, "none")
    assert ruling(found) is Ruling.ACCEPTED


def test_a_client_cannot_avoid_a_refusal_by_using_up_the_time_for_a_forged_domain_s_spf():
    """A record with `ptr` causes queries to the DNS servers of the client's own network, which may not respond."""
    records = zone_of(spf="v=spf1 ptr:example.com include:more.example.com -all")
    reverse = {"1.100.51.198.in-addr.arpa": SILENT}
    with Zone(records | reverse | {"more.example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}}) as zone:
        found = verdicts(zone, MESSAGE, Claim("198.51.100.1", "mx.evil.example", "x@example.com"), seconds=3)
    assert found.spf.outcome is Outcome.TEMPERROR
    assert ruling(found) is Ruling.DEFERRED_IN_DOUBT


@pytest.mark.parametrize("answers", [pytest.param(SILENT, marks=pytest.mark.slow), SERVFAIL])
def test_a_domain_whose_dns_server_fails_does_not_hide_another_domain_in_from(answers):
    names = [f"{number}.evil.example" for number in range(2)]
    mailboxes = ", ".join(f"x@{name}" for name in names) + ", ann@example.com"
    message = MESSAGE.replace(b"Ann <ann@example.com>", mailboxes.encode())
    with Zone(zone_of() | {f"_dmarc.{name}": answers for name in names}) as zone:
        assert ruling(verdicts(zone, message, ELSEWHERE, seconds=3)) is Ruling.REFUSED_AS_FORGED
        found = verdicts(zone, message, CLAIM, seconds=1)
    assert (found.dmarc.outcome, found.dmarc.naming) == (Outcome.TEMPERROR, Naming.UNCLEAR)
    assert ruling(found) is Ruling.DEFERRED_AS_UNCLEAR


def test_policies_are_not_looked_up_for_too_many_domains_in_from():
    mailboxes = ", ".join(f"x@{number}.example.com" for number in range(MAX_NAMED + 1))
    with Zone(zone_of()) as zone:
        found = verdicts(zone, f"From: {mailboxes}\r\n\r\n".encode(), ELSEWHERE)
        assert ruling(found) is Ruling.REFUSED_AS_MALFORMED
        assert not any(name.startswith("_dmarc.") for name, *_ in zone.questions)


def test_a_forged_message_is_refused_even_if_the_dns_of_the_real_sender_fails():
    zone_records = zone_of() | {"evil.example": SERVFAIL, "sel._domainkey.evil.example": SERVFAIL}
    with Zone(zone_records) as zone:
        found = verdicts(zone, sign(domain=b"evil.example"), ELSEWHERE)
    assert found.spf.outcome is found.dkim[0].outcome is Outcome.TEMPERROR
    assert ruling(found) is Ruling.REFUSED_AS_FORGED


def test_a_silent_dns_server_is_a_temporary_error_within_the_time_limit():
    with Zone(zone_of() | {"_dmarc.example.com": SILENT}) as zone:
        found = verdicts(zone, seconds=1.0)
    assert found.dmarc.outcome is Outcome.TEMPERROR
    assert zone.asked("_dmarc.example.com") <= 1  # there is no time for a second try
