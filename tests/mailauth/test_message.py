"""Splitting a message into header and body, the From fields in it, and the hash of its body."""

import hashlib
import time

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.domain.mailauth.from_header import Naming
from waypost.mailauth import message
from waypost.mailauth.body_hash import body_hash


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
        (b"From : b\r\n\r\n", [(b"From ", b" b\r\n")], b""),
        (b"From\r\n\t: b\r\n\r\n", [(b"From\r\n\t", b" b\r\n")], b""),
        (b" folded\r\nno field\r\n folded\r\n: x\r\nA:b\r\n\r\n", [(b"A", b"b\r\n")], b""),
        (b"A:b\r\n\r\nC: d\r\n\r\n", [(b"A", b"b\r\n")], b"C: d\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_message_is_split_into_fields_and_body(octets, fields, body, size):
    assert parts(octets, size) == (fields, body)


def test_a_header_without_an_end_is_read_up_to_a_limit():
    fields, _ = parts(b"From: a@b.example\r\n" + b"X: " + b"x" * 3_000_000)
    assert sum(len(name) + len(value) for name, value in fields) < message.HEADER_LIMIT + 10


@pytest.mark.parametrize("filler", [b"X: " + b"x" * message.HEADER_LIMIT + b"\r\n", b"x\r\n" * message.LINES_LIMIT])
def test_a_from_field_after_the_limits_makes_the_author_unclear(filler):
    """A line that is not a field ends the header for the SMTP server, but not for some mail readers."""
    header = b"no field\r\n" + filler + b"From: ann@bank.example\r\n\r\n"
    assert authors(header)[0] is Naming.TOO_MANY
    assert authors(b"From: a@b.example\r\n" + header) == (Naming.TOO_MANY, ("b.example",))


def test_a_header_at_the_limits_is_read_completely():
    lines = b"From: ann@example.com\r\n" + b"x: y\r\n" * (message.LINES_LIMIT - 1)
    octets = b"From: ann@example.com\r\nX: " + b"x" * (message.HEADER_LIMIT - 26) + b"\r\n"
    for header in (lines, octets):
        assert authors(header + b"\r\n") == (Naming.ONE, ("example.com",))
    assert authors(lines + b"x: y\r\n\r\n")[0] is authors(octets[:-2] + b"xx\r\n\r\n")[0] is Naming.TOO_MANY


def authors(octets):
    found = message.author_domains(message.split([octets]))
    return found.naming, found.domains


@pytest.mark.parametrize(
    "header",
    [
        b"From: ann@example.com\r\n",
        b"FROM : Ann <ann@example.com>\r\n",
        b"From\t:\r\n ann@example.com\r\n",
        b"From\r\n : ann@example.com\r\n",
        b"no field\r\nFrom: ann@example.com\r\n",
        b"From: ann@example.com \xff\r\n",
    ],
)
def test_the_author_is_found_with_any_spelling_of_from(header):
    assert authors(header + b"\r\n") == (Naming.ONE, ("example.com",))


@pytest.mark.parametrize(
    "hidden",
    [
        b"Subject: x\nFrom: ann@example.com\r\n",
        b"Subject: x\rFROM : ann@example.com\n (fold)\r\n",
        b"Subject: x\r\n fold\nFrom: ann@example.com\rTo: bob@bank.example\r\n",
        b"\nFrom: ann@example.com\r\n",
        b"no field\nFrom: ann@example.com\r\n",
    ],
)
def test_a_from_field_after_a_bare_line_end_is_read(hidden):
    assert authors(hidden + b"\r\n") == (Naming.ONE, ("example.com",))
    assert authors(b"From: x@evil.example\r\n" + hidden + b"\r\n")[0] is Naming.UNCLEAR


@pytest.mark.parametrize("piece", [b"\nFrom:", b"\rFrom: a@example.com", b"\nFrom", b"\r\n From:", b"\r\nFrom:"])
def test_many_from_fields_are_read_quickly(piece):
    begun = time.process_time()
    authors(b"Subject: x" + piece * 100_000 + b"\r\n\r\n")
    assert time.process_time() - begun < 4  # it takes a tenth of a second


def test_two_from_fields_are_always_unclear():
    assert authors(b"From: a@example.com\r\nFROM: b@example.com\r\n\r\n") == (Naming.UNCLEAR, ("example.com",))
    assert authors(b"Subject: x\r\n\r\n") == (Naming.NONE, ())


@given(st.binary())
def test_arbitrary_bytes_can_be_read_as_a_message(octets):
    message.author_domains(message.split([octets]))
    message.author_domains(message.split([b"From: " + octets]))


# SMTP ends each line, so no RFC defines the meaning of white space at the end of an incomplete line.
tokens = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc", b"  \r\n"]))
lines = tokens.map(lambda some: b"".join(some).rstrip(b" \t"))


@given(lines, st.integers(1, 8), st.none() | st.integers(0, 20))
@example(b"\r\n\r\r\n", 3, None)
@example(b" \r", 1, None)
@example(b"a \r\n \r\n", 2, 5)
@pytest.mark.parametrize("canonical", [Relaxed, Simple])
def test_the_body_hash_agrees_with_the_library(canonical, body, size, length):
    expected = canonical.canonicalize_body(body)
    pieces = [memoryview(body)[start : start + size] for start in range(0, len(body), size)]
    found = body_hash(pieces, relaxed=canonical is Relaxed, length=length)
    assert found == (hashlib.sha256(expected[:length]).digest(), len(expected))


def test_the_body_hash_of_many_empty_lines_is_correct():
    body = b"a\r\n" + b"\r\n" * 100_000 + b"b"
    found, size = body_hash([memoryview(body)], relaxed=True, length=None)
    assert found == hashlib.sha256(body + b"\r\n").digest()
    assert size == len(body) + 2
