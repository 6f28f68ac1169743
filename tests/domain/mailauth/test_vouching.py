"""To whom a notice may go: a proof for a domain is none for an address in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dkim, Dmarc, Outcome, Spf, Verdicts
from waypost.domain.mailauth.vouching import FROM_OCTETS, author_key, vouches_for

PASS, FAIL = Outcome.PASS, Outcome.FAIL
NOTHING = Spf(Outcome.NONE, "", "mailfrom")
FROM_ANN = b"Subject: x\r\nFrom: Ann <ann@one.test>\r\nTo: b@two.test\r\n"


def spf(domain, outcome=PASS, identity="mailfrom"):
    return Spf(outcome, domain, identity)


def verdicts(spf=NOTHING, *, signer=None, signature=PASS, dmarc=PASS, naming=Naming.ONE):
    dkim = (Dkim(signature, signer, "s", ""),) if signer is not None else ()
    return Verdicts(spf, dkim, Dmarc(dmarc, "one.test", "reject", "", naming))


VOUCHED_FOR = {
    "SPF for the sender's own domain": (verdicts(spf("one.test")), "ann@one.test"),
    "SPF, in other letters": (verdicts(spf("One.Test.")), "ann@one.TEST"),
    "SPF for a domain that is not ASCII": (verdicts(spf("xn--bcher-kva.test")), "ann@bücher.test"),
    "DKIM, and From is the sender": (verdicts(signer="one.test"), "ann@one.test"),
    "DKIM, and the letters differ": (verdicts(signer="One.test"), "ANN@One.test"),
    "DKIM of a domain above": (verdicts(signer="test"), "ann@one.test"),
    "DKIM where no policy is published": (verdicts(signer="one.test", dmarc=Outcome.NONE), "ann@one.test"),
}

NOT_VOUCHED_FOR = {
    "DMARC alone, by whatever it passed": (verdicts(), "ann@one.test"),
    "DKIM, and From is somebody else of that domain": (verdicts(signer="one.test"), "bob@one.test"),
    "DKIM of another domain": (verdicts(signer="two.test"), "ann@one.test"),
    "DKIM of a domain below, which may be another's": (verdicts(signer="mail.one.test"), "ann@one.test"),
    "DKIM of a domain that ends alike": (verdicts(signer="e.test"), "ann@one.test"),
    "DKIM without a domain": (verdicts(signer=""), "ann@one.test"),
    "DKIM that failed": (verdicts(signer="one.test", signature=FAIL), "ann@one.test"),
    "DKIM, and readers disagree who the author is": (
        verdicts(signer="one.test", naming=Naming.UNCLEAR),
        "ann@one.test",
    ),
    "SPF that failed softly": (verdicts(spf("one.test", Outcome.SOFTFAIL)), "ann@one.test"),
    "SPF for the HELO name": (verdicts(spf("one.test", identity="helo")), "ann@one.test"),
    "SPF for another domain": (verdicts(spf("two.test")), "ann@one.test"),
    "the null sender": (verdicts(spf("one.test"), signer="one.test"), ""),
    "a sender that is no address": (verdicts(spf("one.test"), signer="one.test"), "ann one.test"),
}


@pytest.mark.parametrize(("found", "sender"), VOUCHED_FOR.values(), ids=VOUCHED_FOR)
def test_a_notice_goes_to_who_is_vouched_for(found, sender):
    assert vouches_for(found, sender, FROM_ANN)


@pytest.mark.parametrize(("found", "sender"), NOT_VOUCHED_FOR.values(), ids=NOT_VOUCHED_FOR)
def test_a_notice_goes_to_nobody_for_whom_nothing_vouches(found, sender):
    assert not vouches_for(found, sender, FROM_ANN)


CLEAR = [
    b"ann@one.test",
    b" <ann@one.test> ",
    b'"Ann, of <One>" <ann@one.test>'.replace(b"<One>", b"One"),
    b"Ann (of One) <Ann@One.Test>",
    b"=?utf-8?q?Ann?=\r\n\t<ann@one.test>",
    b'<"ann"@one.test>',
]


@pytest.mark.parametrize("value", CLEAR)
def test_the_author_is_the_one_address_in_from(value):
    header = b"Subject: x\r\nfrom \t:" + value + b"\r\nTo: z@two.test\r\n"
    assert author_key(header) == "ann@one.test"
    assert author_key(header[12:]) == "ann@one.test"


UNCLEAR = [
    b"ann@one.test, bob@one.test",
    b'"ann@one.test" <bob@one.test>',
    b"<ann@one.test> bob",
    b"<ann@one.test",
    b"<<ann@one.test>",
    b"<ann@one.test><>",
    b"Ann",
    b"",
    b"ann@",
    b"friends: ann@one.test;",
    "Änn <ann@one.test>".encode(),
    b" " * FROM_OCTETS + b"ann@one.test",
]


@pytest.mark.parametrize("value", UNCLEAR)
def test_an_author_who_is_not_clear_is_none(value):
    assert author_key(b"From:" + value + b"\r\n") == ""


def test_of_two_from_fields_none_counts():
    assert author_key(FROM_ANN + FROM_ANN) == ""
    assert author_key(b"X-From: ann@one.test\r\n") == ""


@given(st.binary(max_size=100))
def test_any_octets_are_no_author_or_an_address(octets):
    key = author_key(b"From: " + octets)
    assert key == "" or key.count("@") == 1
