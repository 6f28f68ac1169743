"""Host names in routes and settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain import errors
from waypost.domain.mail import hosts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mail.Example", "mail.example"),
        ("mail.example.", "mail.example."),
        ("mail_server", "mail_server"),
        ("_a._b-c", "_a._b-c"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("bücher.example.", "xn--bcher-kva.example."),
        ("192.0.2.1", "192.0.2.1"),
        ("a" * 63, "a" * 63),
        (".".join(["a" * 63] * 3 + ["a" * 61, ""]), ".".join(["a" * 63] * 3 + ["a" * 61, ""])),
    ],
)
def test_a_host_name_has_a_canonical_spelling(text, name):
    assert hosts.parse(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a host name"),
        (".", "is not a host name"),
        ("mail..example", "is not a host name"),
        ("mail.example..", "is not a host name"),
        (".example", "is not a host name"),
        ("-a", "is not a host name"),
        ("a-", "is not a host name"),
        ("a b", "is not a host name"),
        ("a/b", "is not a host name"),
        ("a\n", "is not a host name"),
        ("a" * 64, "is not a host name"),
        ("a." * 126 + "aa", "253 characters"),
        ("ü" * 254, "253 characters"),
        ("bü_cher", "is not a host name"),
    ],
)
def test_a_malformed_host_name_is_refused(text, message):
    with pytest.raises(errors.Invalid) as caught:
        hosts.parse(text)
    assert message in caught.value.message


@given(st.text(max_size=300))
def test_any_text_is_either_read_or_refused_as_a_host_name(text):
    try:
        name = hosts.parse(text)
    except errors.Invalid:
        return
    assert hosts.parse(name) == name
    assert name.isascii()
