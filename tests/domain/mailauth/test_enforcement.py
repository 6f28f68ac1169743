"""The decision to accept, refuse or defer a message from the results of its checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.mailauth.enforcement import NOT_WANTED, Reason, Ruling, Unchecked, rule
from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dkim, Dmarc, Outcome, Spf, Verdicts


def verdicts(outcome, policy="", naming=Naming.ONE, *, spf=Outcome.NONE, dkim=Outcome.NONE):
    return Verdicts(
        Spf(spf, "evil.example", "mailfrom"),
        (Dkim(dkim, "evil.example", "sel", ""),),
        Dmarc(outcome, "bank.example", policy, naming=naming),
    )


@pytest.mark.parametrize(
    ("outcome", "policy", "naming", "ruling"),
    [
        (Outcome.PASS, "reject", Naming.ONE, Ruling.ACCEPTED),
        (Outcome.NONE, "", Naming.ONE, Ruling.ACCEPTED),
        (Outcome.FAIL, "none", Naming.ONE, Ruling.ACCEPTED),
        (Outcome.FAIL, "quarantine", Naming.ONE, Ruling.ACCEPTED),
        (Outcome.FAIL, "reject", Naming.ONE, Ruling.REFUSED_AS_FORGED),
        (Outcome.FAIL, "reject", Naming.UNCLEAR, Ruling.REFUSED_AS_FORGED),
        (Outcome.PERMERROR, "", Naming.NONE, Ruling.ACCEPTED),
        (Outcome.PERMERROR, "", Naming.UNCLEAR, Ruling.ACCEPTED),
        (Outcome.PERMERROR, "", Naming.TOO_MANY, Ruling.REFUSED_AS_MALFORMED),
        # The policy could not be looked up.
        (Outcome.TEMPERROR, "", Naming.ONE, Ruling.DEFERRED_IN_DOUBT),
        (Outcome.TEMPERROR, "", Naming.UNCLEAR, Ruling.DEFERRED_AS_UNCLEAR),
        # The policy is known, but an aligned result is not.
        (Outcome.TEMPERROR, "reject", Naming.ONE, Ruling.DEFERRED_IN_DOUBT),
        (Outcome.TEMPERROR, "reject", Naming.UNCLEAR, Ruling.DEFERRED_AS_UNCLEAR),
        (Outcome.TEMPERROR, "quarantine", Naming.ONE, Ruling.ACCEPTED),
        (Outcome.TEMPERROR, "none", Naming.UNCLEAR, Ruling.ACCEPTED),
    ],
)
def test_the_ruling_about_a_message_that_was_checked(outcome, policy, naming, ruling):
    found = verdicts(outcome, policy, naming)
    assert rule(found, enforces=True) is ruling
    assert rule(found, enforces=False) is Ruling.ACCEPTED


@pytest.mark.parametrize("reason", Reason)
def test_an_unchecked_message_is_deferred_unless_the_settings_switch_the_check_off(reason):
    ruling = Ruling.ACCEPTED if reason in NOT_WANTED else Ruling.DEFERRED_UNCHECKED
    assert rule(Unchecked(reason), enforces=True) is ruling
    assert rule(Unchecked(reason), enforces=False) is Ruling.ACCEPTED


def test_three_reasons_come_from_the_settings():
    assert {reason.name for reason in NOT_WANTED} == {"OFF", "HANDED_OVER", "TRUSTED"}


@given(st.sampled_from(Outcome), st.sampled_from(Outcome), st.sampled_from(Naming), st.sampled_from(["", "reject"]))
def test_spf_and_dkim_results_of_other_domains_do_not_change_the_ruling(spf, dkim, naming, policy):
    for outcome in Outcome:
        plain = rule(verdicts(outcome, policy, naming), enforces=True)
        assert rule(verdicts(outcome, policy, naming, spf=spf, dkim=dkim), enforces=True) is plain


def test_an_unchecked_message_has_a_reason_in_words():
    assert str(Unchecked(Reason.DNS_SILENT)) == "the DNS does not answer"
    assert str(Unchecked(Reason.FAILED, "MemoryError")) == "the check failed: MemoryError"
