"""The field that reports the results, the fields from other servers, and the rules of DMARC (RFC 8601, RFC 9989)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from waypost.domain.mailauth import verdicts as authentication
from waypost.domain.mailauth.from_header import Authors, Naming
from waypost.domain.mailauth.verdicts import Answer, Dkim, Dmarc, Outcome, Record, Spf, Verdicts

NO_SPF = Spf(Outcome.NONE, "", "mailfrom")
NO_DMARC = Dmarc(Outcome.NONE, "example.com")


def verdicts(spf=NO_SPF, dkim=(), dmarc=NO_DMARC):
    return Verdicts(spf, tuple(dkim), dmarc)


def spf(domain, outcome=Outcome.PASS):
    return Spf(outcome, domain, "mailfrom")


def signed(domain, outcome=Outcome.PASS):
    return Dkim(outcome, domain, "sel", "")


def decide(zone, authors, spf=NO_SPF, dkim=()):
    """The verdict, and the names that were looked up."""
    asked = []
    decision = authentication.decide(authors, spf, dkim)
    try:
        name = next(decision)
        while True:
            asked.append(name)
            texts = zone.get(name, ())
            exists = any(f".{known}".endswith(f".{name}") for known in zone)
            name = decision.send(Answer((texts,) if isinstance(texts, str) else tuple(texts), exists))
    except StopIteration as stop:
        return stop.value, asked


# The Authentication-Results field.


def test_the_field_reports_every_verdict():
    found = verdicts(
        Spf(Outcome.PASS, "example.com", "mailfrom"),
        [
            Dkim(Outcome.PASS, "example.com", "2026", "@example.com"),
            Dkim(Outcome.FAIL, "list.example", "k1", "", "the body was changed"),
        ],
        Dmarc(Outcome.PASS, "example.com", "reject"),
    )
    assert authentication.authentication_results(found, "mx.here.example") == [
        "Authentication-Results: mx.here.example;",
        "\tspf=pass smtp.mailfrom=example.com;",
        "\tdkim=pass header.d=example.com header.s=2026 header.i=@example.com;",
        '\tdkim=fail reason="the body was changed" header.d=list.example header.s=k1;',
        "\tdmarc=pass header.from=example.com policy.dmarc=reject",
    ]


def test_a_message_without_signatures_has_dkim_none():
    assert "\tdkim=none;" in authentication.authentication_results(verdicts(), "mx")


def test_at_most_ten_signatures_are_listed():
    lines = authentication.authentication_results(verdicts(dkim=[signed(f"{n}.example") for n in range(50)]), "mx")
    assert sum("dkim=" in line for line in lines) == 10


def test_the_length_of_a_field_with_long_names_of_signatures_is_limited():
    """Each recipient's copy has the field. Without a limit, a hundred copies had fields of a megabyte in total."""
    long = Dkim(Outcome.PASS, *["a" * 255] * 3)
    lines = authentication.authentication_results(Verdicts(Spf(Outcome.NONE, "", "helo"), (long,) * 10, NO_DMARC), "mx")
    assert sum("dkim=pass" in line for line in lines) == 2
    assert sum(map(len, lines)) < 2_500


def test_no_line_of_the_field_is_too_long():
    long = "a" * 1_000_000
    found = Verdicts(Spf(Outcome.PASS, long, "mailfrom", long), (Dkim(Outcome.PERMERROR, *[long] * 4),) * 10, NO_DMARC)
    assert max(map(len, authentication.authentication_results(found, long))) < 998


hostile = st.one_of(
    st.text(),
    st.sampled_from(
        ['"', "\\", "a\r\nX-Evil: 1", "(", ")", ";", "x; dmarc=pass", "a\x00b", "\ud800", "é@é", "a" * 5_000, "@" * 400]
    ),
)
outcomes = st.sampled_from(Outcome)
LINE = re.compile(
    r'\t(?:spf|dkim|dmarc)=[a-z]+(?: reason="[^"\\\r\n]*")?'
    r"(?: [a-z]+\.[a-z]+=[A-Za-z0-9.!#$%&'*+_-]*(?:@[A-Za-z0-9._-]*)?)*;?"
)


@given(
    st.builds(Spf, outcomes, hostile, st.just("mailfrom"), hostile),
    st.lists(st.builds(Dkim, outcomes, hostile, hostile, hostile, hostile), max_size=12),
    st.builds(Dmarc, outcomes, hostile, hostile, hostile),
    hostile,
)
def test_hostile_values_cannot_break_the_field(spf, dkim, dmarc, name):
    first, *lines = authentication.authentication_results(Verdicts(spf, tuple(dkim), dmarc), name)
    assert re.fullmatch(r"Authentication-Results: [A-Za-z0-9.!#$%&'*+@_-]*;", first)
    assert all(LINE.fullmatch(line) and line.isascii() and len(line) < 998 for line in lines)
    assert all(line.endswith(";") for line in lines[:-1])


# The fields from other servers.

OURS = "mx.here.example"


@pytest.mark.parametrize(
    "value",
    [
        "mx.here.example; spf=pass",
        "MX.Here.Example; spf=pass",
        "mx.here.example.; spf=pass",
        "mx.here.example 1; spf=pass",
        "mx.here.example",
        "mx.here.example(we say so); spf=pass",
        "(a comment (in (comments\\)))) mx.here.example; spf=pass",
        '"mx.here.example"; spf=pass',
        '"mx.\\here.exam\\ple"; spf=pass',
        "\r\n mx.here.example;\r\n\tspf=pass",
    ],
)
def test_a_field_with_this_server_s_name_is_forged(value):
    header = f"From: a@b\r\nauthentication-RESULTS : {value}\r\nTo: c@d\r\n".encode()
    assert authentication.trusted_results(header, OURS) == ()
    assert authentication.count_forged(header, OURS) == 1


def test_a_field_of_another_server_can_be_trusted():
    header = b"Authentication-Results: mx.there.example;\r\n\tspf=pass smtp.mailfrom=a.example\r\nFrom: a@b"
    values = ("mx.there.example; spf=pass smtp.mailfrom=a.example",)
    assert authentication.trusted_results(header, OURS) == values
    assert authentication.count_forged(header, OURS) == 0


@pytest.mark.parametrize("value", ["", ";", "(never ended", '"never ended', "()" * 600 + "mx.there.example"])
def test_a_field_whose_server_name_cannot_be_read_is_neither_trusted_nor_forged(value):
    header = f"Authentication-Results: {value}\r\n".encode()
    assert authentication.trusted_results(header, OURS) == ()
    assert authentication.count_forged(header, OURS) == 0


def test_only_a_limited_number_of_fields_is_examined():
    header = b"Authentication-Results: x; spf=pass\r\n" * 1_000
    assert len(authentication.trusted_results(header, OURS)) == authentication.MAX_FOREIGN


def test_a_field_of_a_megabyte_is_cut():
    (value,) = authentication.trusted_results(b"Authentication-Results: x;" + b" spf=pass;" * 100_000, OURS)
    assert len(value) < 10_001


@given(st.binary() | st.binary().map(lambda octets: b"Authentication-Results: " + octets), st.text())
def test_arbitrary_bytes_can_be_read_as_a_header(header, name):
    assert all("\n" not in value for value in authentication.trusted_results(header, name))
    assert authentication.count_forged(header, name) in {0, 1}


def test_the_field_of_an_unchecked_message_says_none_and_the_reason():
    assert authentication.no_results(OURS, "the DNS does not answer") == (
        f"Authentication-Results: {OURS}; none",
        "\t(the DNS does not answer)",
    )


@given(st.text(), st.text())
def test_hostile_values_cannot_break_the_field_of_an_unchecked_message(name, reason):
    first, second = authentication.no_results(name, reason)
    assert re.fullmatch(r"Authentication-Results: [^\s;()]*; none", first)
    assert re.fullmatch(r"\t\([^()\\\r\n]{0,120}\)", second)
    assert (first + second).isascii()


# DMARC records.

D = "example.com"


@pytest.mark.parametrize(
    ("texts", "record"),
    [
        (["v=DMARC1; p=reject"], Record(D, "reject")),
        (["v=DMARC1;p=Quarantine;"], Record(D, "quarantine")),
        (["v = DMARC1 ; p = none ; sp=reject; np=quarantine"], Record(D, "none", "reject", "quarantine")),
        (["v=DMARC1; p=reject; aspf=s; adkim=S"], Record(D, "reject", strict_spf=True, strict_dkim=True)),
        (["v=DMARC1; p=reject; aspf=r; adkim=x"], Record(D, "reject")),
        (["v=DMARC1; p=reject; psd=n; t=y"], Record(D, "reject", psd="n", testing=True)),
        (["v=DMARC1; p=reject; psd=y"], Record(D, "reject", psd="y")),
        (["v=DMARC1; p=reject; psd=maybe; t=no"], Record(D, "reject")),
        (["v=DMARC1; p=reject; psd=U; t=N"], Record(D, "reject")),
        (["v=DMARC1; p=reject; pct=0"], Record(D, "reject", testing=True)),
        (["v=DMARC1; p=reject; pct=0; t=n"], Record(D, "reject")),
        (["v=DMARC1; p=reject; pct=50; unknown=1; ; =; nonsense"], Record(D, "reject")),
        (["v=DMARC1; p=reject; an-other=1; averylongtagname=1; x= "], Record(D, "reject")),
        # The names of tags are not case-sensitive. Their values are not either, except for the version.
        (["V=DMARC1; P=Reject; SP=NONE; Np=quarantine"], Record(D, "reject", "none", "quarantine")),
        (["V=DMARC1; p=reject; ASPF=S; AdKim=s; PSD=Y; T=y"], Record(D, "reject", "", "", True, True, "y", True)),
        (["v=DMARC1\t;\tp\t=\treject\t;\t"], Record(D, "reject")),
        # A tag that occurs twice has no valid value.
        (["v=DMARC1; p=reject; p=none"], Record(D, "")),
        (["v=DMARC1; p=reject; sp=none; P=reject; rua=mailto:d@example.com"], Record(D, "none")),
        (["v=DMARC1; p=reject; aspf=s; aspf=s; t=y; t=y; x=1; x=2"], Record(D, "reject")),
        # Without a valid policy, the result depends on whether the record requests reports.
        (["v=DMARC1"], Record(D, "")),
        (["v=DMARC1;"], Record(D, "")),
        (["v=DMARC1; adkim=s; rua=mailto:d@example.com"], Record(D, "none", strict_dkim=True)),
        (["v=DMARC1; p=rejekt; rua=mailto:d@example.com"], Record(D, "none")),
        (["v=DMARC1; p=reject; sp=rejekt; rua=mailto:d@example.com"], Record(D, "none")),
        (["v=DMARC1; p=reject; np=; rua=mailto:d@example.com"], Record(D, "none")),
        (["v=DMARC1; p=rejekt; rua=nowhere, mailto:d@example.com!10m"], Record(D, "none")),
        (["v=DMARC1; p=rejekt; rua=other+scheme.1:x"], Record(D, "none")),
        (["v=DMARC1; p=rejekt; rua=mailto: d@example.com"], Record(D, "")),
        (["v=DMARC1; p=rejekt; rua=mailto:, :d@example.com, 1x:y"], Record(D, "")),
        (["v=DMARC1; p=rejekt; rua=mailto:a@b.c; rua=mailto:a@b.c"], Record(D, "")),
        (["v=DMARC1; p=rejekt"], Record(D, "")),
        (["v=DMARC1; p=reject; sp="], Record(D, "")),
        (["v=DMARC1; p=reject; np=all"], Record(D, "")),
        (["v=DMARC1; p=reject,"], Record(D, "")),
        (["v=DMARC1; p=rejekt; rua=nowhere"], Record(D, "")),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], None),
        (["v=DMARC1; p=reject", "something else"], Record(D, "reject")),
        (["v=DMARC2; p=reject"], None),
        (["p=reject; v=DMARC1"], None),
        (["v=DMARC12; p=reject"], None),
        (["v=dmarc1; p=reject"], None),
        (["v=DMARc1; p=reject"], None),
        (["v=DMARC1 p=reject"], None),
        ([" v=DMARC1; p=reject"], None),
        (['"v=DMARC1; p=reject"'], None),
        (["v=DMARC1\\; p=reject"], None),
        (["v=dmarc1; p=reject", "v=DMARC1; p=none"], Record(D, "none")),
        (["v=DMARC1; p=rejekt", "v=DMARC1; p=reject"], None),
        (["v"], None),
        ([], None),
    ],
)
def test_a_dmarc_record_is_parsed_or_ignored(texts, record):
    assert authentication.parse_record(D, texts) == record


@given(st.text())
def test_arbitrary_text_can_be_read_as_a_record(text):
    authentication.parse_record(D, [text])
    authentication.parse_record(D, [f"v=DMARC1;{text}"])


# The tree walk.


def test_a_tree_walk_looks_up_every_name_up_to_the_top():
    _, asked = decide({}, ["a.mail.example.com"])
    assert asked == ["_dmarc.a.mail.example.com", "_dmarc.mail.example.com", "_dmarc.example.com", "_dmarc.com"]


def test_a_tree_walk_from_many_labels_looks_up_eight_names():
    # The example of RFC 9989 section 4.10.
    _, asked = decide({}, ["a.b.c.d.e.f.g.h.i.j.mail.example.com"])
    assert asked == [
        "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "_dmarc.g.h.i.j.mail.example.com",
        "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com",
        "_dmarc.j.mail.example.com",
        "_dmarc.mail.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
    ]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_a_tree_walk_looks_up_at_most_eight_names(count):
    labels = [f"l{number}" for number in range(count)]
    _, asked = decide({}, [".".join(labels)])
    assert len(asked) == min(count, authentication.MAX_STEPS)
    assert [name.count(".") for name in asked] == [count, *range(min(count - 1, 7), 0, -1)]


def test_several_records_at_a_name_are_ignored_and_the_tree_walk_continues():
    several = ("v=DMARC1; p=none; psd=n", "v=DMARC1; p=quarantine; psd=n")
    zone = {"_dmarc.mail.example.com": several, "_dmarc.example.com": "v=DMARC1; p=reject"}
    verdict, asked = decide(zone, ["mail.example.com"])
    assert (verdict.outcome, verdict.policy) == (Outcome.FAIL, "reject")
    assert asked == ["_dmarc.mail.example.com", "_dmarc.example.com", "_dmarc.com"]


@pytest.mark.parametrize("psd", ["y", "n"])
def test_a_tree_walk_ends_at_a_record_with_a_psd_tag(psd):
    _, asked = decide({"_dmarc.example.com": f"v=DMARC1; p=none; psd={psd}"}, ["a.example.com"])
    assert asked == ["_dmarc.a.example.com", "_dmarc.example.com"]


@pytest.mark.parametrize(
    ("domain", "records", "organisation"),
    [
        ("a.example.com", [], "a.example.com"),
        ("a.example.com", [Record("example.com")], "example.com"),
        ("a.b.example.com", [Record("a.b.example.com"), Record("example.com")], "example.com"),
        ("a.b.example.com", [Record("b.example.com", psd="n")], "b.example.com"),
        ("a.b.example.com", [Record("example.com", psd="y")], "b.example.com"),
        ("a.bank", [Record("a.bank"), Record("bank", psd="y")], "a.bank"),
        ("bank", [Record("bank", psd="y")], "bank"),
    ],
)
def test_the_organizational_domain_comes_from_the_records_of_the_tree_walk(domain, records, organisation):
    assert authentication.organisational_domain(domain, records) == organisation


@pytest.mark.parametrize(
    ("identifier", "author", "strict", "organisations", "aligned"),
    [
        ("example.com", "example.com", True, ("example.com", "example.com"), True),
        ("mail.example.com", "example.com", True, ("example.com", "example.com"), False),
        ("mail.example.com", "news.example.com", False, ("example.com", "example.com"), True),
        ("example.net", "example.com", False, ("example.net", "example.com"), False),
    ],
)
def test_strict_alignment_compares_domains_and_relaxed_alignment_compares_organizations(
    identifier, author, strict, organisations, aligned
):
    theirs, ours = organisations
    assert aligned is authentication.align(
        identifier, author, strict=strict, identifier_organisation=theirs, author_organisation=ours
    )


# The decision.

REJECT = {"_dmarc.example.com": "v=DMARC1; p=reject"}
STRICT = {"_dmarc.example.com": "v=DMARC1; p=reject; aspf=s; adkim=s"}


@pytest.mark.parametrize(
    ("zone", "author", "spf_result", "signatures", "outcome"),
    [
        (REJECT, "example.com", spf("example.com"), [], Outcome.PASS),
        (REJECT, "example.com", spf("bounces.Example.com."), [], Outcome.PASS),
        (REJECT, "example.com", spf("example.net"), [signed("example.com")], Outcome.PASS),
        (REJECT, "news.example.com", NO_SPF, [signed("mail.example.com")], Outcome.PASS),
        (REJECT, "example.com", spf("example.net"), [signed("example.net")], Outcome.FAIL),
        (REJECT, "example.com", spf("notexample.com"), [signed("com")], Outcome.FAIL),
        (REJECT, "example.com", spf("example.com", Outcome.SOFTFAIL), [], Outcome.FAIL),
        (REJECT, "example.com", NO_SPF, [signed("example.com", Outcome.FAIL)], Outcome.FAIL),
        (REJECT, "example.com", NO_SPF, [signed("example.com", Outcome.POLICY)], Outcome.FAIL),
        (REJECT, "example.com", NO_SPF, [signed("x.test"), signed("example.com")], Outcome.PASS),
        (STRICT, "example.com", spf("mail.example.com"), [signed("mail.example.com")], Outcome.FAIL),
        (STRICT, "example.com", spf("mail.example.com"), [signed("example.com")], Outcome.PASS),
        # An incomplete check might have passed. An incomplete check of an unrelated domain changes nothing.
        (REJECT, "example.com", spf("example.com", Outcome.TEMPERROR), [], Outcome.TEMPERROR),
        (REJECT, "example.com", spf("mail.example.com", Outcome.TEMPERROR), [], Outcome.TEMPERROR),
        (REJECT, "example.com", NO_SPF, [signed("example.com", Outcome.TEMPERROR)], Outcome.TEMPERROR),
        (REJECT, "example.com", NO_SPF, [signed("evil.test", Outcome.TEMPERROR)], Outcome.FAIL),
        (STRICT, "example.com", spf("mail.example.com", Outcome.TEMPERROR), [], Outcome.FAIL),
        (REJECT, "example.com", spf("example.com", Outcome.TEMPERROR), [signed("example.com")], Outcome.PASS),
        ({}, "example.com", spf("example.com"), [], Outcome.NONE),
        # A subdomain with psd=n is an organization of its own.
        (
            REJECT | {"_dmarc.shop.example.com": "v=DMARC1; p=none; psd=n"},
            "example.com",
            spf("a.shop.example.com"),
            [],
            Outcome.FAIL,
        ),
    ],
)
def test_the_dmarc_decision_follows_from_the_record_and_aligned_results(zone, author, spf_result, signatures, outcome):
    verdict, _ = decide(zone, [author], spf_result, signatures)
    assert (verdict.outcome, verdict.domain) == (outcome, author)


@pytest.mark.parametrize(
    ("records", "author"),
    [
        ({"shop.example.com": "p=rejekt", "example.com": "p=reject"}, "shop.example.com"),
        ({"shop.example.com": "adkim=s", "example.com": "p=reject"}, "shop.example.com"),
        ({"shop.example.com": "p=none; sp=", "example.com": "p=reject"}, "shop.example.com"),
        ({"example.com": "p=reject; sp=all"}, "example.com"),
        ({"example.com": "p=reject; np=all"}, "shop.example.com"),
        ({"bank": "sp=reject; psd=y"}, "a.bank"),
    ],
)
def test_a_record_without_a_valid_policy_is_not_replaced_by_the_record_of_a_parent_domain(records, author):
    zone = {f"_dmarc.{domain}": f"v=DMARC1; {record}" for domain, record in records.items()}
    verdict, _ = decide(zone, [author], spf(author))
    assert (verdict.outcome, verdict.policy) == (Outcome.NONE, "")


def test_a_record_without_a_valid_policy_does_not_apply_to_a_subdomain():
    zone = {"_dmarc.shop.example.com": "v=DMARC1; p=rejekt", "_dmarc.example.com": "v=DMARC1; p=reject"}
    verdict, _ = decide(zone, ["a.shop.example.com"])
    assert (verdict.outcome, verdict.policy) == (Outcome.FAIL, "reject")


@pytest.mark.parametrize(
    ("zone", "author", "policy"),
    [
        ({"_dmarc.example.com": "v=DMARC1; p=reject; sp=none"}, "example.com", "reject"),
        ({"_dmarc.example.com": "v=DMARC1; p=reject"}, "a.example.com", "reject"),
        ({"_dmarc.example.com": "v=DMARC1; p=reject; sp=none"}, "a.example.com", "none"),
        ({"_dmarc.example.com": "v=DMARC1; p=none; np=reject"}, "a.example.com", "reject"),
        ({"_dmarc.example.com": "v=DMARC1; p=none; np=reject", "a.example.com": ""}, "a.example.com", "none"),
        ({"_dmarc.example.com": "v=DMARC1; p=reject; t=y"}, "example.com", "quarantine"),
        ({"_dmarc.example.com": "v=DMARC1; p=quarantine; t=y"}, "example.com", "none"),
        ({"_dmarc.example.com": "v=DMARC1; p=none; pct=0"}, "example.com", "none"),
        ({"_dmarc.bank": "v=DMARC1; p=reject; psd=y"}, "a.bank", "reject"),
        (
            {"_dmarc.a.example.com": "v=DMARC1; p=quarantine", "_dmarc.example.com": "v=DMARC1; p=reject"},
            "a.example.com",
            "quarantine",
        ),
        (
            {"_dmarc.b.example.com": "v=DMARC1; p=quarantine", "_dmarc.example.com": "v=DMARC1; p=reject"},
            "a.b.example.com",
            "reject",
        ),
    ],
)
def test_the_policy_that_applies_comes_from_the_tags_of_the_record(zone, author, policy):
    verdict, _ = decide(zone, [author])
    assert (verdict.outcome, verdict.policy) == (Outcome.FAIL, policy)


# Several domains in From.

FAILS = Dmarc(Outcome.FAIL, "bank.example", "reject", "neither")
FAILS_SOFTLY = Dmarc(Outcome.FAIL, "shop.example", "quarantine")
PASSES = Dmarc(Outcome.PASS, "example.com", "reject")
UNKNOWN = Dmarc(Outcome.TEMPERROR, "slow.example", "", "DNS did not answer")
WITHOUT = Dmarc(Outcome.NONE, "example.net")


def conclude(naming, *found):
    return authentication.conclude(Authors(naming, tuple(verdict.domain for verdict in found)), found)


def test_the_verdict_on_a_clear_author_is_the_verdict_on_its_domain():
    for verdict in (FAILS, FAILS_SOFTLY, PASSES, UNKNOWN, WITHOUT):
        assert conclude(Naming.ONE, verdict) == verdict


@pytest.mark.parametrize("found", [(FAILS, PASSES), (PASSES, FAILS), (UNKNOWN, FAILS), (WITHOUT, FAILS, FAILS_SOFTLY)])
def test_a_message_with_an_unclear_author_fails_if_one_domain_has_a_reject_policy(found):
    verdict = conclude(Naming.UNCLEAR, *found)
    assert verdict == replace(FAILS, naming=Naming.UNCLEAR)


@pytest.mark.parametrize("found", [(PASSES,), (PASSES, WITHOUT), (FAILS_SOFTLY, PASSES), (WITHOUT,)])
def test_a_message_with_an_unclear_author_never_passes_and_is_an_error_without_a_reject_policy(found):
    verdict = conclude(Naming.UNCLEAR, *found)
    assert (verdict.outcome, verdict.domain, verdict.policy) == (Outcome.PERMERROR, found[0].domain, "")


KNOWN = Dmarc(Outcome.TEMPERROR, "list.example", "none", "SPF or DKIM could not be completed")
"""The result is incomplete, but the policy of the domain is not to refuse mail."""


@pytest.mark.parametrize(
    ("found", "decisive"),
    [
        ((PASSES, UNKNOWN), UNKNOWN),
        ((KNOWN, PASSES), KNOWN),
        ((KNOWN, UNKNOWN), UNKNOWN),
        ((UNKNOWN, KNOWN), UNKNOWN),
        ((KNOWN, UNKNOWN, FAILS), FAILS),
    ],
)
def test_of_several_domains_a_domain_whose_policy_may_be_reject_is_decisive(found, decisive):
    assert conclude(Naming.UNCLEAR, *found) == replace(decisive, naming=Naming.UNCLEAR)


def test_a_message_without_an_author_is_an_error():
    verdict = conclude(Naming.NONE)
    assert (verdict.outcome, verdict.domain, verdict.reason) == (Outcome.PERMERROR, "", "no domain in From")


def test_a_message_with_too_many_authors_is_an_error():
    verdict = authentication.conclude(Authors(Naming.TOO_MANY, ("a.example", "b.example")), ())
    assert (verdict.outcome, verdict.domain, verdict.reason) == (
        Outcome.PERMERROR,
        "a.example",
        "too many domains in From, or a From or header that is too long",
    )


def test_signatures_of_unrelated_domains_cause_no_tree_walks():
    signatures = [signed(f"{number}.a.b.c.d.e.f.g.example.net") for number in range(10)]
    _, asked = decide(REJECT, ["example.com"], NO_SPF, signatures)
    assert asked == ["_dmarc.example.com", "_dmarc.com"]


def test_the_verdicts_in_words_contain_no_hostile_characters():
    hostile = "a\x1b[31m\r\n\0.example"
    verdicts = Verdicts(
        Spf(Outcome.FAIL, hostile, "mailfrom"),
        tuple(Dkim(Outcome.PASS, hostile, "s", "") for _ in range(20)),
        Dmarc(Outcome.NONE, ""),
    )
    words = authentication.in_words(verdicts)
    assert words["spf"] == "fail (a__31m___.example)"
    assert words["dkim"].split(", ") == ["pass (a__31m___.example)"] * 10
    assert words["dmarc"] == "none"
    assert authentication.in_words(Verdicts(verdicts.spf, (), verdicts.dmarc))["dkim"] == "none"
