"""Forecasts of the results that the next server finds for forwarded mail."""

import pytest

from waypost.domain.mail.routes import Route
from waypost.domain.mailauth.forecasts import Author, Expected, Rewriting, forecast, read_author, rewriting

MESSAGE_ID = "01a2083f-8f62-7000-ae8f-a7c825826d63"
SRS = "bounces.ours.example"
OWN = frozenset({"ours.example"})
STAYS = Rewriting("", "for a test")
REWRITTEN = Rewriting(SRS, "for a test")
UNSIGNED = Author(("client.example",), ())
SIGNED = Author(("client.example",), ("client.example",))


def outcomes(sender, author, rewritten=STAYS):
    found = forecast(sender, author, rewritten, own_domains=OWN, hostname="mx.ours.example")
    return " ".join(one.outcome.value for one in (found.spf, found.dkim, found.dmarc))


@pytest.mark.parametrize(
    ("sender", "author", "rewritten", "expected"),
    [
        ("a@client.example", None, STAYS, "fail unknown unknown"),
        ("a@client.example", None, REWRITTEN, "pass unknown unknown"),
        ("a@client.example", UNSIGNED, STAYS, "fail none fail"),
        ("a@client.example", UNSIGNED, REWRITTEN, "pass none fail"),
        ("a@client.example", SIGNED, STAYS, "fail pass pass"),
        ("a@client.example", SIGNED, REWRITTEN, "pass pass pass"),
        ("a@elsewhere.test", SIGNED, REWRITTEN, "pass pass pass"),
        # A signature of another organization is not aligned; a signature of the same organization may be.
        ("a@client.example", Author(("client.example",), ("esp.test",)), REWRITTEN, "pass pass fail"),
        ("a@client.example", Author(("client.example",), ("mail.client.example",)), STAYS, "fail pass unknown"),
        ("a@client.example", Author(("a.client.example",), ("b.client.example",)), STAYS, "fail pass unknown"),
        # The sender is in one of own_domains.
        ("a@ours.example", Author(("ours.example",), ()), STAYS, "pass none pass"),
        ("a@OURS.example", Author(("ours.example",), ()), STAYS, "pass none pass"),
        ("a@ours.example", UNSIGNED, STAYS, "pass none fail"),
        ("a@client.example", Author(("ours.example",), ()), REWRITTEN, "pass none unknown"),
        # For the null sender, SPF checks the host name of this server.
        ("", UNSIGNED, STAYS, "unknown none fail"),
        ("", SIGNED, STAYS, "unknown pass pass"),
        ("", Author(("ours.example",), ()), STAYS, "unknown none unknown"),
        ("", Author(("mx.ours.example",), ()), STAYS, "unknown none unknown"),
        # The sender is unknown.
        (None, UNSIGNED, STAYS, "unknown none unknown"),
        (None, SIGNED, REWRITTEN, "unknown pass pass"),
        (None, None, REWRITTEN, "unknown unknown unknown"),
        # From must name exactly one domain.
        ("a@client.example", Author((), ("client.example",)), STAYS, "fail pass unknown"),
        ("a@client.example", Author(("client.example", "b.test"), ("client.example",)), STAYS, "fail pass unknown"),
    ],
)
def test_the_expected_results_depend_on_sender_author_and_rewriting(sender, author, rewritten, expected):
    assert outcomes(sender, author, rewritten) == expected


def test_every_expected_result_has_a_reason():
    found = forecast("a@client.example", UNSIGNED, REWRITTEN, own_domains=OWN, hostname="mx.ours.example")
    assert found.spf.because == f"the sender is now in {SRS}, whose SPF record must list this server"
    assert found.dkim.because == "the message has no signature"
    assert "neither SPF nor a signature is aligned with client.example" in found.dmarc.because
    assert found.dmarc.outcome is Expected.FAIL


@pytest.mark.parametrize(
    ("sender", "route", "domain", "because"),
    [
        ("a@client.example", {}, SRS, "the SPF record of client.example lists the servers that may send"),
        ("a@client.example", {"to": "mx:"}, SRS, "the SPF record of client.example lists the servers that may send"),
        (None, {}, SRS, "the SPF record of the sender domain lists the servers that may send"),
        ("a@Ours.Example", {}, "", "ours.example is one of own_domains"),
        ("", {}, "", "the null sender is never rewritten"),
        ("a@client.example", {"rewrite_sender": False}, "", "the route has rewrite_sender = false"),
        ("a@client.example", {"to": "lmtp://127.0.0.1"}, "", "the route does not lead to another mail server"),
        ("a@client.example", {"to": "maildir:/mail"}, "", "the route does not lead to another mail server"),
    ],
)
def test_the_sender_is_rewritten_only_if_mail_leaves_our_domains_for_a_mail_server(sender, route, domain, because):
    found = rewriting(
        sender, Route(**{"match": "*", "to": "smtp://relay.test"} | route), srs_domain=SRS, own_domains=OWN
    )
    assert found.domain == domain
    assert found.because.startswith(because)


def test_no_sender_is_rewritten_without_srs_domain():
    found = rewriting("a@client.example", Route(match="*", to="mx:"), srs_domain="", own_domains=OWN)
    assert found == Rewriting("", "no srs_domain is set")


@pytest.mark.parametrize(
    ("header", "domains", "signatures"),
    [
        (b"From: a@client.example\r\n", ["client.example"], []),
        (b"from : Ann <a@Client.Example>\r\nTo: b@b.test\r\n", ["client.example"], []),
        (b'From: "Ann, of a@b.test" <a@client.example>\r\n', ["client.example"], []),
        (b'From: Ann (at "b@b.test" (or c@c.test)) <a@client.example>\r\n', ["client.example", "b.test", "c.test"], []),
        (
            b'From: "\\"@b.test>" <a@client.example>, Team: a@one.test;\r\n',
            ["client.example", "b.test", "one.test"],
            [],
        ),
        (b"From: Ann\r\n <a@client.example>\r\n", ["client.example"], []),
        ("From: a@bücher.example\r\n".encode(), ["xn--bcher-kva.example"], []),
        (b"From: a@one.test, b@two.test, c@one.test\r\n", ["one.test", "two.test"], []),
        (b"From: a@one.test\r\nFrom: a@one.test\r\n", ["one.test"], []),
        (b"From: nobody\r\n", [], []),
        (b"From: a@-\r\n", [], []),
        ("From: a@-ü.example\r\n".encode(), [], []),
        (b"From:\r\n", [], []),
        (b"Subject: From: a@client.example\r\n\r\nFrom: a@client.example\r\n", [], []),
        (b"DKIM-Signature: v=1; d=client.example; s=x\r\n", [], ["client.example"]),
        (
            b"DKIM-Signature: d = Client.\r\n\tExample.;s=x\r\ndkim-signature: s=d=x; d=b.test",
            [],
            ["client.example", "b.test"],
        ),
        (b"DKIM-Signature: v=1; bd=client.example\r\n", [], []),
        (b"From: a@" + b"x" * 20_000, [], []),
        (b"From: a@one.test," + b" " * 4_000 + b"a@two.test\r\nFrom: a@three.test", ["three.test", "one.test"], []),
        (b"From: " + b", ".join(b"a@%d.test" % n for n in range(30)), [f"{n}.test" for n in range(8)], []),
        (b"DKIM-Signature: d=a.test\r\n" * 30, [], ["a.test"] * 20),
        (b"\xff\x00\r\n", [], []),
        (b"", [], []),
    ],
)
def test_the_author_and_the_signatures_are_read_from_the_header(header, domains, signatures):
    found = read_author(header)
    assert (list(found.domains), list(found.signatures)) == (domains, signatures)


def test_a_header_with_very_long_fields_is_read_quickly():
    fields = (b" (" * 60_000, b' "\\' * 40_000, b" d" * 60_000, b";d" * 60_000)
    for value in fields:
        assert read_author(b"From:" + value + b"\r\nDKIM-Signature:" + value) == Author((), (), is_clear=False)


def test_two_from_fields_with_the_same_domain_are_not_a_clear_author():
    found = read_author(b"From: a@ours.example\r\nFrom: b@ours.example\r\n")
    assert found == Author(("ours.example",), (), is_clear=False)
    assert outcomes("a@ours.example", found, STAYS) == "pass none unknown"
