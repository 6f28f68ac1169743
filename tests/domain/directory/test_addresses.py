"""Tests of the syntax of addresses, and of the rule by which two spellings are the same address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain import errors
from waypost.domain.directory import addresses

SAME = [
    ("support@example.com", "support@example.com"),
    ("Support@Example.COM", "support@example.com"),
    ("support@Bücher.example", "support@xn--bcher-kva.example"),
    ("support@BÜCHER.example", "support@bücher.example"),
    ("support@XN--BCHER-KVA.example", "support@bücher.example"),
    ('"support"@example.com', "support@example.com"),
    ('"sup\\port"@example.com', "support@example.com"),
    ("Jürgen@example.com", "jürgen@example.com"),
    ("ju\u0308rgen@example.com", "j\u00fcrgen@example.com"),
    ("STRASSE@example.com", "straße@example.com"),
    ("first.last+tag@example.com", "First.Last+TAG@example.com"),
]

SUBADDRESSED = frozenset({"example.com", "xn--bcher-kva.example"})

OWNERS = [
    ("support@example.com", ["support@example.com"]),
    ("Support+Order@Example.com", ["support+order@example.com", "support@example.com"]),
    ("support+a+b@example.com", ["support+a+b@example.com", "support@example.com"]),
    ("support+@example.com", ["support+@example.com", "support@example.com"]),
    ("+order@example.com", ["+order@example.com"]),
    ("support-order@example.com", ["support-order@example.com"]),
    ("support+order@example.org", ["support+order@example.org"]),
    ("support+order@sub.example.com", ["support+order@sub.example.com"]),
    ("support+order@Bücher.example", ["support+order@xn--bcher-kva.example", "support@xn--bcher-kva.example"]),
]

DIFFERENT = [
    ("support@example.com", "support@example.org"),
    ("first.last@example.com", "firstlast@example.com"),
    ("support+tag@example.com", "support@example.com"),
    ("jurgen@example.com", "jürgen@example.com"),
]

REFUSED = [
    ("support", "needs an @"),
    ("@example.com", "before the @"),
    ("support@", "both sides"),
    ("a..b@example.com", "single dots"),
    (".a@example.com", "single dots"),
    ("a.@example.com", "single dots"),
    ("a b@example.com", "before the @"),
    ("a@b@example.com", "before the @"),
    ("a<b>@example.com", "before the @"),
    ("a\r\nb@example.com", "before the @"),
    ("zero\u200bwidth@example.com", "before the @"),
    ('""@example.com', "before the @"),
    ('"@example.com', "before the @"),
    ("a@example..com", "not a domain name"),
    ("a@-example.com", "not a domain name"),
    ("a@under_score.example", "not a domain name"),
    ("a@[127.0.0.1]", "not a domain name"),
    ("a@ex ample.com", "not a domain name"),
    ("a@ü\u200b..example", "not a domain name"),
    ("a@" + "x" * 64 + ".example", "not a domain name"),
    ("a@" + ".".join(["x" * 60] * 5), "longer than 255"),
    ("a@" + "ü" * 256, "longer than 255"),
    ("x" * 65 + "@example.com", "longer than 64"),
    ("ü" * 33 + "@example.com", "longer than 64"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_address_have_one_key(one, other):
    assert addresses.parse(one).key == addresses.parse(other).key


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_addresses_have_different_keys(one, other):
    assert addresses.parse(one).key != addresses.parse(other).key


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_an_address_to_which_no_client_can_send_is_refused_with_the_reason(text, reason):
    with pytest.raises(errors.Invalid, match=reason):
        addresses.parse(text)


def test_a_person_learns_which_text_is_not_an_email_address_and_why():
    with pytest.raises(errors.Invalid) as refused:
        addresses.parse_typed("nobody" + "x" * 1_000)
    assert refused.value.message == (
        f"'nobody{'x' * 94}' is not an email address: an address needs an @ between the local part and the domain."
    )


def test_the_original_spelling_is_kept():
    assert str(addresses.parse("Support@Bücher.example")) == "Support@Bücher.example"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Support@Example.com", "Support@Example.com"),
        ("Support@Bücher.example", "Support@xn--bcher-kva.example"),
        ('"a b"@bücher.example', '"a b"@xn--bcher-kva.example'),
        ("grüße@bücher.example", "grüße@bücher.example"),
        ("a@grün..x", "a@grün..x"),
        ("", ""),
    ],
)
def test_an_address_gets_an_ascii_domain_if_its_local_part_is_ascii(text, expected):
    assert addresses.with_ascii_domain(text) == expected


def test_the_longest_address_is_accepted():
    domain = ".".join(["d" * 63, "d" * 63, "d" * 63, "d" * 63])
    assert addresses.parse("l" * 64 + "@" + domain).key.endswith(domain)


def test_an_address_can_have_a_local_part_that_needs_quotes_in_smtp():
    assert addresses.from_parts("a b", "example.com", text='"a b"@example.com').key == "a b@example.com"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_parsed_or_refused(local, domain):
    try:
        address = addresses.parse(f"{local}@{domain}")
    except errors.Invalid:
        return
    assert address.key.rpartition("@")[2].isascii()


@given(st.from_regex(r"[a-zA-Z0-9äöüÄÖÜßéÉ]{1,12}(\.[a-zA-Z0-9äöü]{1,8}){0,2}@[a-zäöü]{1,10}\.example", fullmatch=True))
def test_the_key_of_an_address_is_a_spelling_of_it(text):
    key = addresses.parse(text).key
    assert addresses.parse(key).key == key
    assert addresses.parse(text.upper().replace("ẞ", "SS")).key == key


@pytest.mark.parametrize(("text", "keys"), OWNERS)
def test_the_owner_of_an_address_is_looked_up_with_and_then_without_its_subaddress(text, keys):
    assert list(addresses.owner_keys(addresses.parse(text), SUBADDRESSED)) == keys
    assert list(addresses.owner_keys(addresses.parse(text), ())) == keys[:1]
