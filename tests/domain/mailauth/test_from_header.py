"""The domains in From: they include each domain that a mail reader may show, and well-formed mail has exactly one."""

import email
import email.policy
import email.utils
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from waypost.domain.mailauth import from_header
from waypost.domain.mailauth.from_header import (
    MAX_ADDRESSES,
    MAX_CONVERTED,
    MAX_DOMAIN,
    MAX_FIELDS,
    MAX_NAMED,
    MAX_TEXT,
    Naming,
)


def read(*values):
    found = from_header.read(values)
    return found.naming, found.domains


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("ann@example.com", "example.com"),
        (" Ann <ann@Example.COM.>\r\n", "example.com"),
        ("\r\n ann@example.com", "example.com"),
        ("Ann\r\n\t<ann@example.com>", "example.com"),
        ("Ann B. Cee <ann@example.com>", "example.com"),
        ("Ann O'Hara <ann.o'hara@example.com>", "example.com"),
        ('"Hara, Ann (Sales); <x>" <ann@example.com>', "example.com"),
        ('"ann@example.net via Tracker" <tracker@example.com>', "example.com"),
        ("\"'ann@example.net' via List\" <list@example.com>", "example.com"),
        ('"\\"Acme, Inc.\\"" <orders@example.com>', "example.com"),
        ("=?utf-8?q?ann=40example=2Enet?= <ann@example.com>", "example.com"),
        ("Jürgen Müller <j@example.com>", "example.com"),
        ("ann@example.com (Ann)", "example.com"),
        ("ann@example.com (at home, ann@example.net)", "example.com"),
        ("(evil@example.net) ann@example.com", "example.com"),
        ("ann@example.com, bob@example.com", "example.com"),
        ("Ann <ann@example.com>, Bob <bob@EXAMPLE.com>", "example.com"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ("Ann <ann@mail.bücher.example>", "mail.xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("root@localhost", "localhost"),
        ("Root <root@localhost>", "localhost"),
        # Malformed fields with a single domain, which every mail reader can show.
        ("info@example.com <info@example.com>", "example.com"),
        ("Doe, John <john@example.com>", "example.com"),
        ("Doe; John <john@example.com>", "example.com"),
        ("John (Sales <john@example.com>", "example.com"),
        ("John Sales) <john@example.com>", "example.com"),
        ('"John <john@example.com>', "example.com"),
        ('John" <john@example.com>', "example.com"),
        ("John [Sales]: <john@example.com>", "example.com"),
        ("Joe @ Acme <joe@example.com>", "example.com"),
        ("@joe <joe@example.com>", "example.com"),
        ("<ann@example.com", "example.com"),
        ("<<ann@example.com>>", "example.com"),
        ("< ann@example.com >", "example.com"),
        ("ann @ example . com", "example.com"),
        ("ann@example.com;", "example.com"),
        ("ann@example.com; x", "example.com"),
        ("ann@example.com.", "example.com"),
        ("ann@example.com, @", "example.com"),
        ("ann@example.com, undisclosed", "example.com"),
        ("ann@example.com, root@localhost", "example.com"),
        ("Ann <ann@example.com>, bob@[192.0.2.1]", "example.com"),
        ("Friends: ann@example.com, Bob <bob@example.com>;", "example.com"),
        ('"ann smith"@example.com', "example.com"),
        ("ann@[example.com]", "example.com"),
        ("ann@exam\0ple.com", "example.com"),
        ("ann@example.com\N{REPLACEMENT CHARACTER}", "example.com"),
        ("ann@example.com\\", "example.com"),
        ("ann@exam(a (nested\\) comment) @ x)ple.com", "example.com"),
        ("ann@example\r\n .com", "example.com"),
        # Look-alikes of ASCII, which mail readers may treat as ASCII.
        ("ann@ｅｘａｍｐｌｅ.com", "example.com"),
        ("ann＠example.com", "example.com"),
        ("ann@example。com", "example.com"),
        ("＜ann@example．com＞", "example.com"),
        ("ann@exam\N{SOFT HYPHEN}ple.com", "example.com"),
        ("ann@exam\u200bple.com", "example.com"),
        ("=?utf-8?q?ann=40example=2Ecom?=", "example.com"),
        ("=?UTF-8?B?YW5uQGV4YW1wbGUuY29t?=", "example.com"),
    ],
)
def test_from_names_one_domain(value, domain):
    assert read(value) == (Naming.ONE, (domain,))


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        ("ann@example.com, bob@example.net", ("example.com", "example.net")),
        ("evil@example.net <ann@example.com>", ("example.com", "example.net")),
        ("evil@example.net, <ann@example.com>", ("example.net", "example.com")),
        ("evil@example.net; <ann@example.com>", ("example.com", "example.net")),
        ("evil@example.net (<ann@example.com>", ("example.com", "example.net")),
        ('"evil@example.net <ann@example.com>', ("example.com", "example.net")),
        ('"evil@example.net\r\n " <ann@example.com>', ("example.com", "example.net")),
        ('"\\" <evil@example.net>" <ann@example.com>', ("example.net", "example.com")),
        ('"<evil@example.net>" <ann@example.com>', ("example.net", "example.com")),
        ("evil＠example.net <ann@example.com>", ("example.com", "example.net")),
        ("<ann@example.com> <bob@example.net>", ("example.com", "example.net")),
        ("<@relay.example:ann@example.com>", ("relay.example", "example.com")),
        ("evil@example.net@example.com", ("example.net", "example.com")),
        ('"Ann <a@example.net>"@example.com', ("example.net", "example.com")),
        ("ann@example.com(\\) <evil@example.net>)", ("example.net", "example.com")),
        ("Team: ann@example.com, bob@example.net;", ("example.com", "example.net")),
        ("=?utf-8?q?=3Cann=40example=2Ecom=3E?=, bob@example.net", ("example.com", "example.net")),
        ("ceo@example.comé.example.net", ("example.xn--com-dma.example.net", "example.com")),
        ("ceo@example.comｂａｎｋ.example.net", ("example.combank.example.net", "example.com")),
        ('ceo@exam"ple.com" <x@example.net>', ("example.net", "example.com")),
        ("ceo@exam\\ple.com <x@example.net>", ("example.net", "example.com")),
        ("ceo@exam<>ple.com <x@example.net>", ("example.net", "example.com")),
        ("ceo@example.co<>m", ("example.co", "example.com")),
        ("ceo@exam\r\n ple.com x <x@example.net>", ("example.net", "example.comx", "example.com")),
        ("=?utf-8?b?a?=, ann@example.com, bob@example.net", ("example.com", "example.net")),
        ("ann@example.com b", ("example.com", "example.comb")),
        ("ann@exam ple.com\r\n b <x@example.net>", ("example.net", "example.comb", "example.com")),
    ],
)
def test_from_names_several_domains(value, domains):
    assert read(value) == (Naming.UNCLEAR, domains)


@pytest.mark.parametrize(
    "value",
    ["", "<>", "ann", "ann@", "ann@-", "@", '"', "ann@\N{BALLOT BOX}..x", "ann@[192.0.2.1]", "ann@" + "ä" * 300, "a@:"],
)
def test_from_names_no_domain(value):
    assert read(value) == (Naming.NONE, ())


def test_several_from_fields_are_always_unclear():
    assert read("ann@example.com", "ann@example.com") == (Naming.UNCLEAR, ("example.com",))
    assert read("ann@example.com", "bob@example.net") == (Naming.UNCLEAR, ("example.com", "example.net"))
    assert read("", "") == (Naming.NONE, ())
    assert read() == (Naming.NONE, ())


def test_more_domains_than_the_limit_are_too_many():
    mailboxes = [f"a@{number}.example" for number in range(MAX_NAMED + 1)]
    named = tuple(f"{number}.example" for number in range(MAX_NAMED))
    for separator in (", ", "; "):
        assert read(separator.join(mailboxes[:-1])) == (Naming.UNCLEAR, named)
        assert read(separator.join(mailboxes)) == (Naming.TOO_MANY, named)


def test_more_addresses_or_fields_than_the_limits_are_too_many():
    assert read(";a@example.com" * MAX_ADDRESSES) == (Naming.ONE, ("example.com",))
    assert read(";a@example.com" * MAX_ADDRESSES + "@")[0] is Naming.TOO_MANY
    assert read(*["a@example.com"] * MAX_FIELDS)[0] is Naming.UNCLEAR
    assert read(*["a@example.com"] * MAX_FIELDS, "")[0] is Naming.TOO_MANY


def test_a_domain_without_an_end_is_too_long():
    comment = f"({'x' * MAX_DOMAIN})"
    assert read(f"ann@example{comment}.com")[0] is Naming.TOO_MANY
    assert read(f"ann@example.com {comment}") == (Naming.ONE, ("example.com",))


def test_more_characters_or_different_domains_than_the_limits_are_too_many():
    """The tests in tests/work measure the time that the longest fields take."""
    spaces = " " * (MAX_TEXT - len("<ann@example.com>"))
    assert read(f"{spaces}<ann@example.com>") == (Naming.ONE, ("example.com",))
    assert read(f"{spaces} <ann@example.com>") == (Naming.TOO_MANY, ())
    assert read(f"{spaces}", "<ann@example.com> ") == (Naming.TOO_MANY, ())
    domains = [f"a@{'é' * 250}{number}" for number in range(MAX_CONVERTED + 1)]
    assert read(" ".join(domains[:8]))[0] is Naming.NONE
    assert read(" ".join(domains))[0] is Naming.TOO_MANY


# Addresses that mail readers show.


def first_address_of_python(value):
    return email.utils.parseaddr(value)[1]


def first_address_of_python_unfolded(value):
    return email.utils.parseaddr(re.sub(r"\r?\n", "", value))[1]


def addresses_of_a_parsed_message(value):
    octets = b"From: " + value.encode("utf-8", "replace") + b"\r\nSubject: x\r\n\r\n"
    try:
        found = email.message_from_bytes(octets, policy=email.policy.default)["From"]
        return [address.addr_spec for address in found.addresses] if found else []
    except Exception:  # noqa: BLE001 - the parser fails on some fields in some versions of Python
        return []


def first_brackets(value):
    return (re.findall(r"<([^<>]*)>", value) or [""])[0]


def last_brackets(value):
    return (re.findall(r"<([^<>]*)>", value) or [""])[-1]


def first_word_with_a_sign(value):
    return (re.findall(r"[^\s<>,;()\"]+@[A-Za-z0-9.-]+", value) or [""])[0]


READERS = [
    first_address_of_python,
    first_address_of_python_unfolded,
    addresses_of_a_parsed_message,
    last_brackets,
]
"""Mail readers that parse quoted strings. The others misread a quoted name that contains an address."""

PIECES = st.lists(
    st.sampled_from(
        [
            "ceo@bank.example",
            "x@evil.example",
            "<ceo@bank.example>",
            "<x@evil.example>",
            "ceo",
            "bank.example",
            ".example",
            "bank",
            "Doe",
            *'@<>()",;:\\[].',
            " ",
            "\t",
            "\r\n ",
            "\0",
            "\N{FULLWIDTH COMMERCIAL AT}",
            "ｂａｎｋ",
            "é",
            "=?utf-8?q?",
            "=40",
            "?=",
        ]
    ),
    max_size=14,
).map("".join)


def domain_of(address):
    return address.rpartition("@")[2].rstrip(".").lower()


def is_checked(address, found):
    """Whether the policy of an address's domain is looked up, where the address is what a mail reader shows."""
    domain = domain_of(address)
    is_domain = re.fullmatch(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]+", domain)
    return found.naming is Naming.TOO_MANY or not is_domain or "@" not in address or domain in found.domains


@pytest.mark.parametrize("reader", READERS)
@given(PIECES)
@example('"x\r\n ceo@bank.example" <x@evil.example>')
@example('"ceo@bank.example\r\n " <x@evil.example>')
@example("ceo@bank(a@b).example")
@example("ceo@ba nk.example\r\n x")
@example("ceo@[a]bank.example")
def test_each_domain_that_a_mail_reader_shows_is_checked(reader, value):
    shown = reader(value)
    found = from_header.read([value])
    assert all(is_checked(address, found) for address in ([shown] if isinstance(shown, str) else shown))


@given(PIECES, PIECES)
@example('"', '" <x@evil.example>')
@example("(", ") x@evil.example")
@example("=?utf-8?q?", "?=")
def test_the_domain_of_a_bracketed_address_is_checked_with_any_special_text_around_it(before, after):
    found = from_header.read([f"{before}<ceo@bank.example>{after}"])
    assert found.naming is Naming.TOO_MANY or "bank.example" in found.domains


@given(st.text(), st.text())
def test_the_domain_of_a_bracketed_address_is_checked_with_any_text_around_it(before, after):
    found = from_header.read([f"{before}<ceo@bank.example>{after}"])
    assert found.naming is Naming.TOO_MANY or "bank.example" in found.domains


@given(PIECES)
@example("x@evil.example<bank.example>")
def test_a_field_is_clear_only_if_the_simplest_mail_readers_agree(value):
    assume(value.isascii() and '"' not in value and "(" not in value)
    found = from_header.read([value])
    if found.naming is Naming.ONE:
        shown = {reader(value) for reader in (first_brackets, last_brackets, first_word_with_a_sign)}
        domains = {domain_of(address) for address in shown if "@" in address}
        assert {domain for domain in domains if re.fullmatch(r"[a-z]+\.[a-z]+", domain)} <= set(found.domains)


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters='"\\<>'), max_size=30)


@given(NAMES)
def test_a_quoted_name_is_ignored(name):
    assert read(f'"{name}" <ann@example.com>') == (Naming.ONE, ("example.com",))


@given(st.lists(st.text()))
def test_arbitrary_text_can_be_read_as_from_fields(values):
    found = from_header.read(values)
    assert len(found.domains) <= MAX_NAMED
    assert (found.naming is Naming.NONE) <= (found.domains == ())
