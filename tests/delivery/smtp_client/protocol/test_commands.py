"""The encoding of commands and messages: lines with dots, split at any position, and the two encodings of DSN
parameters.
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.delivery.smtp_client.protocol.commands import DotStuffer, unitext, xtext
from waypost.smtp.protocol import grammar


def unstuffed(octets):
    """Return the message that a server reads up to the final dot, and the bytes after it (RFC 5321 section 4.5.2)."""
    lines = octets.split(b"\r\n")
    end = lines.index(b".")
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end]), b"\r\n".join(lines[end + 1 :])


PIECES = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\r\n.\r\n", b""]))


@given(st.lists(PIECES.map(b"".join)))
@example([b"a\r", b"\n.b"])
@example([b"a\r", b"\n", b".b"])
@example([b"a\r\n", b".", b"\r\n"])
@example([b".a\r", b"", b"\n", b"", b".\r\n"])
def test_a_server_reads_the_original_message_even_if_it_is_split_anywhere(parts):
    stuffer, whole = DotStuffer(), b"".join(parts)
    wire = b"".join(stuffer.feed(part) for part in parts) + stuffer.end()
    expected = whole if not whole or whole.endswith(b"\r\n") else whole + b"\r\n"
    assert unstuffed(wire) == (expected, b"")
    at_once = DotStuffer()
    assert wire == at_once.feed(whole) + at_once.end()


@pytest.mark.parametrize(
    ("text", "encoded"), [("a+b=c", "a+2Bb+3Dc"), ("a b\r\n", "a+20b+0D+0A"), ("!~", "!~"), ("ü", "+C3+BC"), ("", "")]
)
def test_xtext(text, encoded):
    assert xtext(text) == encoded


@pytest.mark.parametrize(
    ("text", "encoded"), [("a+b=\\", r"a\x{2B}b\x{3D}\x{5C}"), ("ü€😀", r"\x{FC}\x{20AC}\x{1F600}")]
)
def test_unitext(text, encoded):
    assert unitext(text) == encoded


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_the_server_decodes_xtext_and_unitext_to_the_original_text(text):
    assert (grammar.decode_xtext(xtext(text)) or "") == text
    assert (grammar.decode_unitext(unitext(text.replace(" ", "_"))) or "") == text.replace(" ", "_")
