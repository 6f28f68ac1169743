"""Names of hosts."""

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
def test_a_host_has_one_spelling(text, name):
    assert hosts.parse(text) == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no host name"),
        (".", "no host name"),
        ("mail..example", "no host name"),
        ("mail.example..", "no host name"),
        (".example", "no host name"),
        ("-a", "no host name"),
        ("a-", "no host name"),
        ("a b", "no host name"),
        ("a/b", "no host name"),
        ("a\n", "no host name"),
        ("a" * 64, "no host name"),
        ("a." * 126 + "aa", "253 octets"),
        ("ü" * 254, "253 octets"),
        ("bü_cher", "no host name"),
    ],
)
def test_a_bad_host_is_refused(text, says):
    with pytest.raises(errors.Invalid) as caught:
        hosts.parse(text)
    assert says in caught.value.message


@given(st.text(max_size=300))
def test_a_host_is_read_or_refused(text):
    try:
        name = hosts.parse(text)
    except errors.Invalid:
        return
    assert hosts.parse(name) == name
    assert name.isascii()
