"""Authentic senders, to which notices may go: a result for a domain does not authenticate every address in it."""

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


AUTHENTIC = {
    "SPF for the sender's own domain": (verdicts(spf("one.test")), "ann@one.test"),
    "SPF, in other case": (verdicts(spf("One.Test.")), "ann@one.TEST"),
    "SPF for a domain that is not ASCII": (verdicts(spf("xn--bcher-kva.test")), "ann@bücher.test"),
    "DKIM, and From is the sender": (verdicts(signer="one.test"), "ann@one.test"),
    "DKIM, and From differs in case": (verdicts(signer="One.test"), "ANN@One.test"),
    "DKIM of a parent domain": (verdicts(signer="test"), "ann@one.test"),
    "DKIM without a published policy": (verdicts(signer="one.test", dmarc=Outcome.NONE), "ann@one.test"),
}

NOT_AUTHENTIC = {
    "DMARC alone": (verdicts(), "ann@one.test"),
    "DKIM, but From is another address of the domain": (verdicts(signer="one.test"), "bob@one.test"),
    "DKIM of another domain": (verdicts(signer="two.test"), "ann@one.test"),
    "DKIM of a subdomain, which may have another owner": (verdicts(signer="mail.one.test"), "ann@one.test"),
    "DKIM of a domain with the same ending": (verdicts(signer="e.test"), "ann@one.test"),
    "DKIM without a domain": (verdicts(signer=""), "ann@one.test"),
    "DKIM that failed": (verdicts(signer="one.test", signature=FAIL), "ann@one.test"),
    "DKIM, but mail readers disagree about the author": (
        verdicts(signer="one.test", naming=Naming.UNCLEAR),
        "ann@one.test",
    ),
    "SPF with softfail": (verdicts(spf("one.test", Outcome.SOFTFAIL)), "ann@one.test"),
    "SPF for the HELO name": (verdicts(spf("one.test", identity="helo")), "ann@one.test"),
    "SPF for another domain": (verdicts(spf("two.test")), "ann@one.test"),
    "the null sender": (verdicts(spf("one.test"), signer="one.test"), ""),
    "a sender that is not an address": (verdicts(spf("one.test"), signer="one.test"), "ann one.test"),
}


@pytest.mark.parametrize(("found", "sender"), AUTHENTIC.values(), ids=AUTHENTIC)
def test_a_sender_that_spf_or_dkim_authenticates_is_authentic(found, sender):
    assert vouches_for(found, sender, FROM_ANN)


@pytest.mark.parametrize(("found", "sender"), NOT_AUTHENTIC.values(), ids=NOT_AUTHENTIC)
def test_a_sender_that_nothing_authenticates_is_not_authentic(found, sender):
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
def test_the_author_is_the_single_address_in_from(value):
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
def test_an_ambiguous_author_is_ignored(value):
    assert author_key(b"From:" + value + b"\r\n") == ""


def test_two_from_fields_are_ambiguous():
    assert author_key(FROM_ANN + FROM_ANN) == ""
    assert author_key(b"X-From: ann@one.test\r\n") == ""


@given(st.binary(max_size=100))
def test_arbitrary_bytes_give_an_address_or_nothing(octets):
    key = author_key(b"From: " + octets)
    assert key == "" or key.count("@") == 1
