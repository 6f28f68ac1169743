"""The part of a message that a notice returns to its sender."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.dsn.written_notices import FULL, HEADER, ORIGINAL, a_message, a_notice, parsed, raw_part
from waypost.domain.dsn import notices, returned_content
from waypost.domain.dsn.notices import Action, Fate
from waypost.domain.mail.messages import Dsn


def test_the_header_is_returned():
    head, body = raw_part(a_notice(), 2)
    assert "Content-Type: text/rfc822-headers" in head
    assert body == HEADER


def test_the_whole_message_is_returned_to_a_sender_that_asked_for_it():
    head, body = raw_part(a_notice(message=a_message(dsn=Dsn(ret="FULL"))), 2)
    assert head.endswith("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit")
    assert body == ORIGINAL


def test_an_8_bit_body_is_returned_unchanged():
    original = HEADER + b"\r\nGr\xfc\xdfe\r\n"
    octets = a_notice(message=a_message(original, dsn=Dsn(ret="FULL")), original=original)
    head, body = raw_part(octets, 2)

    assert head.endswith("Content-Transfer-Encoding: 8bit")
    assert body == original
    assert parsed(octets)["Content-Transfer-Encoding"] == "8bit"


NOT_WHOLE = {
    "delivery did not fail": ({}, Action.DELAYED, ORIGINAL),
    "only the header was read": ({"size": 1_000_000}, Action.FAILED, HEADER),
    "the message is too big": ({}, Action.FAILED, ORIGINAL + b"x" * 70 + b"\r\n" + b"y\r\n" * 90_000),
    "the message has a bare line feed": ({}, Action.FAILED, ORIGINAL + b"a\nb\r\n"),
    "the message has a bare carriage return": ({}, Action.FAILED, ORIGINAL + b"a\rb\r\n"),
    "the message has a NUL": ({}, Action.FAILED, ORIGINAL + b"a\x00b\r\n"),
    "the message has a long line": ({}, Action.FAILED, ORIGINAL + b"x" * 999 + b"\r\n"),
}


@pytest.mark.parametrize(("changes", "action", "original"), NOT_WHOLE.values(), ids=NOT_WHOLE.keys())
def test_only_the_header_is_returned_if(changes, action, original):
    message = a_message(original, dsn=FULL, **changes)
    octets = a_notice(message=message, original=original, fate=Fate(action=action, status=""))
    head, body = raw_part(octets, 2)
    assert "text/rfc822-headers" in head
    assert body == HEADER


def test_a_line_of_998_bytes_is_returned():
    original = ORIGINAL + b"x" * 998 + b"\r\n"
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)
    assert raw_part(octets, 2)[1] == original


def test_fields_that_servers_added_are_not_returned():
    fields_of_servers = (
        b"Return-Path: <x>\r\nDelivered-To: bob@private.example.net\r\nReceived: from a\r\n\tby b\r\n\tfor <bob>\r\n"
        b"X-Waypost-Loop: 1\r\nX-Waypost-Delivery: 2\r\nX-Forwarded-To: bob\r\nX-Original-To: bob\r\n"
        b"X-Received: by b\r\n"
        b"Authentication-Results: b\r\nARC-Seal: i=1\r\nARC-Authentication-Results: i=1\r\nreceived-spf : pass\r\n"
        b"Envelope-To: bob\r\nX-Envelope-To: bob\r\nX-Delivered-To: bob\r\nX-Apparently-To: bob\r\n"
    )
    kept = b"Received-At: noon\r\nX-Mailer: m\r\nDKIM-Signature: v=1;\r\n\tb=abc\r\n"
    original = fields_of_servers + HEADER + fields_of_servers + kept + b"\r\nDelivered-To: a line of the body\r\n"
    head_only = a_notice(message=a_message(original), original=original)
    whole = a_notice(message=a_message(original, dsn=FULL), original=original)

    assert raw_part(head_only, 2)[1] == HEADER + kept
    assert raw_part(whole, 2)[1] == HEADER + kept + b"\r\nDelivered-To: a line of the body\r\n"


BROKEN_HEADERS = [
    b"Subject: Gr\xfc\xdfe\r\n",
    b"Subject: " + b"x" * 2000 + b"\r\n",
    b"Subject: a\x00b\r\n",
    b"Subject: a\nDelivered-To: bob\r\n",
    b"Subject: a\rDelivered-To: bob\r\n",
    b"Subject: no end",
    b" starts with a fold\r\n",
    b"no field at all",
    b"",
]


@pytest.mark.parametrize("header", BROKEN_HEADERS)
def test_a_malformed_header_is_returned_in_ascii_and_in_proper_lines(header):
    octets = a_notice(message=a_message(header), original=header)

    assert octets.isascii()
    assert b"Delivered-To" not in octets
    if header == BROKEN_HEADERS[0]:
        part = parsed(octets).get_payload(2)
        assert part["Content-Transfer-Encoding"] == "quoted-printable"
        assert part.get_payload(decode=True) == header


def test_a_message_without_a_header_is_returned():
    original = b"\r\nHello\r\n"
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)
    assert raw_part(octets, 2)[1] == original


def test_a_long_header_is_cut_at_the_end_of_a_line_and_marked():
    fields = [b"X-%d: %s\r\n" % (number, b"y" * 70) for number in range(1000)]
    original = HEADER + b"".join(fields) + b"\r\nbody\r\n"
    _, returned = raw_part(a_notice(message=a_message(original), original=original), 2)
    assert returned.endswith(returned_content.CUT)
    kept = returned.removesuffix(returned_content.CUT)
    assert original.startswith(kept)
    assert returned_content.HEADER_LIMIT - 80 < len(kept) <= returned_content.HEADER_LIMIT
    assert kept.endswith(b"\r\n")


@pytest.mark.parametrize(("recipients", "limit"), [(1, 4_096), (16, 4_096), (17, 3_855), (100, 655)])
def test_a_message_with_more_recipients_gets_less_of_its_header_back(recipients, limit):
    original = b"X: " + b"y" * 100_000
    message = a_message(original, recipients=("support@example.com",) * recipients)
    _, returned = raw_part(a_notice(message=message, original=original), 2)
    assert returned.replace(b"=\r\n", b"").startswith(original[:limit] + b"\r\n" + returned_content.CUT[:20])


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_a_header_that_is_not_examined_to_its_end_is_marked_as_cut(line_end):
    """A cut header is marked even if servers added all of its examined fields. An incomplete line is not returned."""
    fields_of_servers = (b"Received: from a" + line_end + b"\tby " + b"b" * 900 + line_end) * 40
    author = b"From: ann@example.org" + line_end
    assert returned_content.header(fields_of_servers + author + b"\r\n") == returned_content.CUT
    fields = b"".join(b"X-%d: y%s" % (number, line_end) for number in range(9))
    expected = fields.replace(line_end, b"\r\n") + returned_content.CUT
    assert returned_content.header(fields + fields_of_servers + author) == expected
    assert returned_content.header(b"X: " + b"y" * returned_content.EXAMINED).endswith(b"\r\n" + returned_content.CUT)


@pytest.mark.parametrize("more", [0, 2, 100])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\nbody\r\n"])
def test_only_a_header_that_is_longer_than_the_examined_part_is_marked_as_cut(more, end):
    """The bytes that a notice reads include the end of the header, which is not a part of the header."""
    rest = b"X: y\r\n"
    long = b"Received: " + b"a" * (returned_content.EXAMINED - len(rest) - 12 + more) + b"\r\n"
    read = (long + rest + end)[: returned_content.READ]
    assert returned_content.header(read) == (returned_content.CUT if more else rest)


def test_an_endless_line_is_cut_at_the_limit_of_the_header():
    original = b"X: " + b"y" * 100_000
    returned = returned_content.header(original)
    assert returned == original[: returned_content.HEADER_LIMIT] + b"\r\n" + returned_content.CUT


def test_the_fields_of_the_author_are_found_after_many_fields_of_servers():
    fields_of_servers = b"Received: from a\r\n\tby b\r\n" * 200
    assert returned_content.header(fields_of_servers + HEADER + b"\r\n") == HEADER


@pytest.mark.parametrize(
    ("size", "recipients", "is_whole"),
    [
        (returned_content.WHOLE_LIMIT, 1, True),
        (returned_content.WHOLE_LIMIT + 1, 1, False),
        (returned_content.WHOLE_LIMIT // 10, 10, True),
        (returned_content.WHOLE_LIMIT // 10, 11, False),
        (1, 0, True),
    ],
)
def test_the_size_limit_of_a_whole_message_is_divided_by_its_recipients(size, recipients, is_whole):
    message = a_message(dsn=FULL, size=size, recipients=("a@example.com",) * recipients)
    assert notices.gives_whole(message, Action.FAILED, is_outside=False) is is_whole


@pytest.mark.parametrize(
    ("ret", "action", "is_outside"),
    [
        ("HDRS", Action.FAILED, False),
        ("", Action.FAILED, False),
        ("FULL", Action.DELAYED, False),
        ("FULL", Action.FAILED, True),
    ],
)
def test_a_body_is_returned_only_for_a_failure_and_to_a_local_sender_that_asked_for_it(ret, action, is_outside):
    assert not notices.gives_whole(a_message(dsn=Dsn(ret=ret)), action, is_outside=is_outside)


LINES = [
    (b"", True),
    (b"a\r\nb\r\n", True),
    (b"a" * 998, True),
    (b"a" * 999, False),
    (b"\r\n" + b"a" * 999 + b"\r\n", False),
    (b"a\nb", False),
    (b"a\rb", False),
    (b"\n\r", False),
    (b"\0", False),
]


@pytest.mark.parametrize(("octets", "are_lines"), LINES)
def test_proper_lines_are_recognized(octets, are_lines):
    assert returned_content.is_lines(octets) is are_lines


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"a", b"b" * 997, b" "]), max_size=12).map(b"".join))
def test_the_line_check_agrees_with_a_slow_regular_expression(octets):
    slow = re.compile(rb"\x00|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")
    assert returned_content.is_lines(octets) is (slow.search(octets) is None)


FIELD = st.sampled_from(
    [
        b"Subject: x",
        b"Received: a",
        b"\tfold",
        b" ",
        b"arc-seal : y",
        b"ARC",
        b"",
        b"x-waypost-loop: z",
        b": ",
        b"X:\ny",
    ]
)


@given(st.lists(FIELD, max_size=8), st.sampled_from([b"\r\n", b"\n", b"\r"]))
def test_the_fields_of_servers_are_removed_one_by_one(fields, line_end):
    """The result is compared with a slow implementation that reads each field separately."""
    header = line_end.join(fields) + line_end
    lines = [line for line in re.split(rb"\r\n|\r|\n", header) if line]
    expected, is_theirs = [], False
    for line in lines:
        is_fold = line[:1] in {b" ", b"\t"} and (expected or is_theirs)
        if not is_fold:
            is_theirs = re.match(rb"(received|arc-[a-z-]+|x-waypost-loop)[ \t]*:", line, re.IGNORECASE) is not None
        if not is_theirs:
            expected.append(line + b"\r\n")
    assert returned_content.of_author(header) == b"".join(expected)


@pytest.mark.parametrize(
    "piece",
    [b"y", b" ", b"\r", b"\n", b"a:\r\n", b"arc-a", b"arc-a:\r\n", b"received:", b"\t\r\n", b"(", b"\xfc", b"\0"],
)
def test_only_a_limited_part_of_a_header_is_examined(piece):
    """The result is the same for the largest header as for its beginning alone."""
    longest = b"X: y\r\n" + piece * (256 * 1024 // len(piece))
    assert returned_content.header(longest) == returned_content.header(longest[: returned_content.READ])
    assert len(returned_content.header(longest)) <= returned_content.HEADER_LIMIT + 2 + len(returned_content.CUT)


def test_a_very_long_header_is_cut():
    original = b"X: y\r\n" * 50_000
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)
    assert len(raw_part(octets, 2)[1]) <= returned_content.HEADER_LIMIT + len(returned_content.CUT)
