"""A message in header and body, and whom it says it is from; and the hash of its body."""

import hashlib

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.authentication import message
from waypost.authentication.body_hash import body_hash


def parts(octets, size=65_536):
    found = message.split([octets[start : start + size] for start in range(0, len(octets), size)])
    return found.fields, b"".join(found.body)


@pytest.mark.parametrize(
    ("octets", "fields", "body"),
    [
        (b"", [], b""),
        (b"\r\nbody", [], b"body"),
        (b"A: b\r\n\r\n", [(b"A", b" b\r\n")], b""),
        (b"A: b\r\nC:\r\n d\r\n\te\r\n\r\nx\r\n", [(b"A", b" b\r\n"), (b"C", b"\r\n d\r\n\te\r\n")], b"x\r\n"),
        (b"A: b", [(b"A", b" b\r\n")], b""),
        (b"From : b\r\n\r\n", [(b"From", b" b\r\n")], b""),
        (b" folded\r\nno field\r\n folded\r\n: x\r\nA:b\r\n\r\n", [(b"A", b"b\r\n")], b""),
        (b"A:b\r\n\r\nC: d\r\n\r\n", [(b"A", b"b\r\n")], b"C: d\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_message_in_two(octets, fields, body, size):
    assert parts(octets, size) == (fields, body)


def test_a_header_without_end_is_looked_at_up_to_a_limit():
    fields, _ = parts(b"From: a@b.example\r\n" + b"X: " + b"x" * 3_000_000)
    assert sum(len(name) + len(value) for name, value in fields) < message.HEADER_LIMIT + 10
    assert message.author_domains(fields) == ("b.example",)


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        ("ann@example.com", ("example.com",)),
        ("Ann <ann@Example.COM.>", ("example.com",)),
        ('"evil@example.net" <ann@example.com>', ("example.com",)),
        ('"\\" <evil@example.net>" <ann@example.com>', ("example.com",)),
        ("evil@example.net <ann@example.com>", ("", "example.com")),
        ("evil@example.net ann@example.com", ("", "example.com")),
        ("evil@example.net@example.com", ("", "example.com")),
        ('\\" <evil@example.net> " <ann@example.com>', ("", "example.com")),
        ("(evil@example.net) ann@example.com (and (again) \\) <x@example.net>)", ("example.com",)),
        ("ann @ example . com", ("example.com",)),
        ('"a@b"@example.com', ("example.com",)),
        ("<@relay.example:ann@example.com>", ("example.com",)),
        ("ann@example.com, bob@example.com", ("example.com",)),
        ("ann@example.com, bob@example.net", ("example.com", "example.net")),
        ("<ann@example.com> <bob@example.net>", ("example.com", "example.net")),
        ("Friends: ann@example.com, Bob <bob@example.com>;", ("example.com",)),
        ("ann@bücher.example", ("xn--bcher-kva.example",)),
        ("ann@example.com, undisclosed", ("example.com", "")),
        ("ann@example.com, bob@[192.0.2.1]", ("example.com", "")),
        ("ann@[192.0.2.1]", ()),
        ("ann@\N{BALLOT BOX}..x", ()),
        ("ann@-", ("-",)[:0]),
        ("ann", ()),
        ("", ()),
        ("<>", ()),
        ('"unclosed <ann@example.com>', ()),
        ("(unclosed ann@example.com", ()),
        ("<ann@example.com", ("example.com",)),
    ],
)
def test_domains_of_authors(value, domains):
    fields, _ = parts(b"from: " + value.encode() + b"\r\n\r\n")
    assert message.author_domains(fields) == domains


def test_two_from_fields_are_two_authors():
    fields, _ = parts(b"From: a@example.com\r\nFROM: b@example.com\r\n\r\n")
    assert message.author_domains(fields) == ("example.com", "example.com")
    assert message.author_domains([]) == ()


@given(st.binary())
def test_any_octets_can_be_read(octets):
    message.author_domains(parts(octets)[0])
    message.author_domains(parts(b"From: " + octets)[0])


# SMTP ends each line; what white space at the end of an unfinished one means, nobody says.
tokens = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc", b"  \r\n"]))
lines = tokens.map(lambda some: b"".join(some).rstrip(b" \t"))


@given(lines, st.integers(1, 8), st.none() | st.integers(0, 20))
@example(b"\r\n\r\r\n", 3, None)
@example(b" \r", 1, None)
@example(b"a \r\n \r\n", 2, 5)
@pytest.mark.parametrize("canonical", [Relaxed, Simple])
def test_the_hash_is_what_the_library_finds(canonical, body, size, length):
    expected = canonical.canonicalize_body(body)
    pieces = [memoryview(body)[start : start + size] for start in range(0, len(body), size)]
    found = body_hash(pieces, relaxed=canonical is Relaxed, length=length)
    assert found == (hashlib.sha256(expected[:length]).digest(), len(expected))


def test_the_hash_of_many_empty_lines():
    body = b"a\r\n" + b"\r\n" * 100_000 + b"b"
    found, size = body_hash([memoryview(body)], relaxed=True, length=None)
    assert found == hashlib.sha256(body + b"\r\n").digest()
    assert size == len(body) + 2
