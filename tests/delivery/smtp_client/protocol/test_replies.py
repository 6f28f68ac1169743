"""The parsing of replies: they can be split anywhere, and bytes that are not a reply are detected."""

import pytest

from waypost.delivery.smtp_client.protocol.replies import (
    CACHED,
    REPLY_LIMIT,
    REPLY_LINE_LIMIT,
    NotAReply,
    Reply,
    ReplyReader,
)


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250\r\n", Reply(250, ("",))),
        (b"250 \r\n", Reply(250, ("",))),
        (b"250 ok\n", Reply(250, ("ok",))),
        (b"250-a\r\n250-\r\n250 c\r\n", Reply(250, ("a", "", "c"))),
        (b"250-a\r\n250\r\n", Reply(250, ("a", ""))),
        (b"550 5.1.1 no\r\n", Reply(550, ("no",), "5.1.1")),
        (b"550 5.1.1\r\n", Reply(550, ("",), "5.1.1")),
        (b"550-5.1.1 a\r\n550 5.1.1 b\r\n", Reply(550, ("a", "b"), "5.1.1")),
        (b"550-5.1.1 a\r\n550 5.1.2 b\r\n", Reply(550, ("a", "5.1.2 b"), "5.1.1")),
        (b"550-a\r\n550 5.1.2 b\r\n", Reply(550, ("a", "5.1.2 b"))),
        (b"550 4.1.1 no\r\n", Reply(550, ("4.1.1 no",))),
        (b"550 5.1.1.1 no\r\n", Reply(550, ("5.1.1.1 no",))),
        (b"550 5.1234.1 no\r\n", Reply(550, ("5.1234.1 no",))),
        (b"250 \xff\r\n", Reply(250, ("\ufffd",))),
        (b"250 " + b"x" * (REPLY_LINE_LIMIT - 6) + b"\r\n", Reply(250, ("x" * (REPLY_LINE_LIMIT - 6),))),
        (b"250-x\r\n" * (REPLY_LIMIT - 1) + b"250 x\r\n", Reply(250, ("x",) * REPLY_LIMIT)),
    ],
)
def test_replies_are_parsed_even_if_they_are_split(octets, reply):
    for step in (1, 7, len(octets)):
        reader = ReplyReader()
        for start in range(0, len(octets), step):
            assert reader.next_reply() is None
            reader.receive(octets[start : start + step])
        assert reader.next_reply() == reply
        assert reader.is_empty


@pytest.mark.parametrize("is_long", [False, True])
def test_only_short_replies_are_cached(is_long):
    octets = b"250 2.0.0 " + b"x" * (CACHED if is_long else 1) + b"\r\n"
    found = []
    for _ in range(2):
        reader = ReplyReader()
        reader.receive(octets)
        found.append(reader.next_reply())
    assert found[0] == found[1]
    assert (found[0] is found[1]) is not is_long


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"", None),
        (b"25", None),
        (b"2500", None),
        (b"hello", None),
        (b"250", Reply(250, ("",))),
        (b"250\r", Reply(250, ("",))),
        (b"250 2.0.0 tak", Reply(250, ("tak",), "2.0.0")),
        (b"250-2.0.0 taken\r\n", Reply(250, ("taken",), "2.0.0")),
        (b"250-2.0.0 taken\r\n25", Reply(250, ("taken",), "2.0.0")),
        (b"550-5.1.1 no\r\n550", Reply(550, ("no",), "5.1.1")),
    ],
)
def test_the_code_of_an_incomplete_reply_is_known(octets, reply):
    reader = ReplyReader()
    reader.receive(octets)
    assert reader.next_reply() is None
    assert reader.end() == reply


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"250-taken\r\nhello\r\n", 250),
        (b"250-x\r\n" * REPLY_LIMIT + b"250 x\r\n", 250),
        (b"250 " + b"x" * REPLY_LINE_LIMIT, 250),
        (b"250-taken\r\n250 " + b"x" * REPLY_LINE_LIMIT, 250),
        (b"554 " + b"x" * REPLY_LINE_LIMIT, 554),
        (b"250-a\r\n251 b\r\n", None),
        (b"hello\r\n250 ok\r\n", None),
        (b"x" * REPLY_LINE_LIMIT, None),
    ],
)
def test_the_code_before_invalid_bytes_is_known_unless_another_code_contradicts_it(octets, code):
    with pytest.raises(NotAReply) as found:
        read_all(octets, len(octets))
    assert (found.value.begun and found.value.begun.code) == code


def read_all(octets, step):
    reader = ReplyReader()
    for start in range(0, len(octets), step):
        reader.receive(octets[start : start + step])
        reader.next_reply()


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"hello\r\n",
        b"25\r\n",
        b"2500 ok\r\n",
        b"250_ok\r\n",
        b" 250 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        "２５０ ok\r\n".encode(),
        b"250-a\r\n251 b\r\n",
        b"250-a\r\nb\r\n",
        b"250-x\r\n" * REPLY_LIMIT + b"250 x\r\n",
        b"250 " + b"x" * (REPLY_LINE_LIMIT - 5) + b"\r\n",
        b"x" * REPLY_LINE_LIMIT,
    ],
)
def test_bytes_that_are_not_a_reply_raise_an_error(octets):
    for step in (1, 7, len(octets)):
        with pytest.raises(NotAReply):
            read_all(octets, step)
