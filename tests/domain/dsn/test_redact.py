"""What a peer said, in a notice: in one line, and of a forwarded copy not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.dsn.redact import WITHHELD, discreet, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("550 no such user", "550 no such user"),
        ("a\r\nSubject: b", "a Subject: b"),
        ("  a \t b\x00c\x1b[31m ", "a b c [31m"),
        ("a\u202eb\u2066c\u200bd\ufeff", "a b c d"),
        ("x" * 600, "x" * 500),
        ("", ""),
    ],
)
def test_the_words_of_others_are_one_line_that_does_no_harm(text, line):
    assert one_line(text) == line
    assert discreet(text, is_forwarded=False) == line


@given(st.text())
def test_of_a_forwarded_copy_nothing_is_passed_on_that_its_server_said(text):
    assert discreet(text, is_forwarded=True) == WITHHELD


def test_only_the_code_can_tell_who_a_server_speaks_of_in_words():
    for text in ("Bob Smith's mailbox is full", "bob_smith: no such user", "EXAMPLE does not know Smith, Bob"):
        assert "mith" not in discreet(text, is_forwarded=True)
