"""The text of a peer's reply in a notice: limited to one line, and withheld for a forwarded copy."""

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
def test_text_of_other_servers_becomes_one_harmless_line(text, line):
    assert one_line(text) == line
    assert discreet(text, is_forwarded=False) == line


@given(st.text())
def test_the_reply_text_for_a_forwarded_copy_is_withheld(text):
    assert discreet(text, is_forwarded=True) == WITHHELD


def test_a_reply_text_that_names_the_primary_is_withheld():
    for text in ("Bob Smith's mailbox is full", "bob_smith: no such user", "EXAMPLE does not know Smith, Bob"):
        assert "mith" not in discreet(text, is_forwarded=True)
