"""All three checks together: whether a message is refused in the end."""

import pytest

from tests.authentication.mail import CLAIM, MESSAGE, sign, verdicts, verdicts_and_time, zone_of
from tests.authentication.zone import SERVFAIL, SILENT, Zone
from waypost.domain.authentication import Claim, Outcome, is_refused

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
        (b"From: x@evil.example\r\n" + MESSAGE, ELSEWHERE, Outcome.PERMERROR),
        (b"To: a@b\r\n\r\n", ELSEWHERE, Outcome.PERMERROR),
        (b"", ELSEWHERE, Outcome.PERMERROR),
    ],
)
def test_dmarc(message, claim, outcome):
    with Zone(zone_of()) as zone:
        found = verdicts(zone, message, claim)
    assert found.dmarc.outcome is outcome
    assert is_refused(found) is (outcome is Outcome.FAIL)


@pytest.mark.parametrize("policy", ["none", "quarantine"])
def test_only_who_asks_for_it_is_refused(policy):
    with Zone(zone_of(dmarc=f"v=DMARC1; p={policy}")) as zone:
        found = verdicts(zone, MESSAGE, ELSEWHERE)
    assert (found.dmarc.outcome, found.dmarc.policy) == (Outcome.FAIL, policy)
    assert not is_refused(found)


@pytest.mark.parametrize("name", ["_dmarc.example.com", "sel._domainkey.example.com"])
def test_nothing_is_refused_while_a_server_fails(name):
    with Zone(zone_of() | {name: SERVFAIL}) as zone:
        found = verdicts(zone, sign(), ELSEWHERE)
    assert found.dmarc.outcome is Outcome.TEMPERROR
    assert not is_refused(found)


def test_a_stranger_whose_server_fails_is_refused_all_the_same():
    zone_records = zone_of() | {"evil.example": SERVFAIL, "sel._domainkey.evil.example": SERVFAIL}
    with Zone(zone_records) as zone:
        found = verdicts(zone, sign(domain=b"evil.example"), ELSEWHERE)
    assert found.spf.outcome is found.dkim[0].outcome is Outcome.TEMPERROR
    assert is_refused(found)


def test_a_silent_server_is_a_temporary_error_in_time():
    with Zone(zone_of() | {"_dmarc.example.com": SILENT}) as zone:
        found, seconds = verdicts_and_time(zone, seconds=0.3)
    assert found.dmarc.outcome is Outcome.TEMPERROR
    assert seconds < 0.4
