"""What a notice gives back of the message that it is about."""

import pytest

from tests.domain.noticing import FULL, HEADER, ORIGINAL, a_message, a_notice, parsed, raw_part
from waypost.domain import given_back
from waypost.domain.messages import Dsn
from waypost.domain.notices import Action, Fate


def test_the_header_comes_back():
    head, body = raw_part(a_notice(), 2)
    assert "Content-Type: text/rfc822-headers" in head
    assert body == HEADER


def test_the_whole_message_comes_back_to_who_wants_it():
    head, body = raw_part(a_notice(message=a_message(dsn=Dsn(ret="FULL"))), 2)
    assert head.endswith("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit")
    assert body == ORIGINAL


def test_a_body_of_8_bits_comes_back_as_it_is():
    original = HEADER + b"\r\nGr\xfc\xdfe\r\n"
    octets = a_notice(message=a_message(original, dsn=Dsn(ret="FULL")), original=original)
    head, body = raw_part(octets, 2)

    assert head.endswith("Content-Transfer-Encoding: 8bit")
    assert body == original
    assert parsed(octets)["Content-Transfer-Encoding"] == "8bit"


NOT_WHOLE = {
    "it did not fail": ({}, Action.DELAYED, ORIGINAL),
    "only the header is there": ({"size": 1_000_000}, Action.FAILED, HEADER),
    "it is too big": ({}, Action.FAILED, ORIGINAL + b"x" * 70 + b"\r\n" + b"y\r\n" * 90_000),
    "it has a line feed alone": ({}, Action.FAILED, ORIGINAL + b"a\nb\r\n"),
    "it has a carriage return alone": ({}, Action.FAILED, ORIGINAL + b"a\rb\r\n"),
    "it has a null": ({}, Action.FAILED, ORIGINAL + b"a\x00b\r\n"),
    "it has a long line": ({}, Action.FAILED, ORIGINAL + b"x" * 999 + b"\r\n"),
}


@pytest.mark.parametrize(("changes", "action", "original"), NOT_WHOLE.values(), ids=NOT_WHOLE.keys())
def test_only_the_header_comes_back_where(changes, action, original):
    message = a_message(original, dsn=FULL, **changes)
    octets = a_notice(message=message, original=original, fate=Fate(action=action, status=""))
    head, body = raw_part(octets, 2)
    assert "text/rfc822-headers" in head
    assert body == HEADER


def test_a_line_of_998_octets_comes_back():
    original = ORIGINAL + b"x" * 998 + b"\r\n"
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)
    assert raw_part(octets, 2)[1] == original


def test_what_servers_on_the_way_wrote_does_not_come_back():
    theirs = (
        b"Return-Path: <x>\r\nDelivered-To: bob@private.example.net\r\nReceived: from a\r\n\tby b\r\n\tfor <bob>\r\n"
        b"X-Waypost-Loop: 1\r\nX-Waypost-Delivery: 2\r\nX-Forwarded-To: bob\r\nX-Original-To: bob\r\n"
        b"X-Received: by b\r\n"
        b"Authentication-Results: b\r\nARC-Seal: i=1\r\nARC-Authentication-Results: i=1\r\nreceived-spf : pass\r\n"
        b"Envelope-To: bob\r\nX-Envelope-To: bob\r\nX-Delivered-To: bob\r\nX-Apparently-To: bob\r\n"
    )
    kept = b"Received-At: noon\r\nX-Mailer: m\r\nDKIM-Signature: v=1;\r\n\tb=abc\r\n"
    original = theirs + HEADER + theirs + kept + b"\r\nDelivered-To: a line of the body\r\n"
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
def test_a_broken_header_comes_back_in_seven_bits_and_in_lines(header):
    octets = a_notice(message=a_message(header), original=header)

    assert octets.isascii()
    assert b"Delivered-To" not in octets
    if header == BROKEN_HEADERS[0]:
        part = parsed(octets).get_payload(2)
        assert part["Content-Transfer-Encoding"] == "quoted-printable"
        assert part.get_payload(decode=True) == header


def test_a_message_without_a_header_comes_back():
    original = b"\r\nHello\r\n"
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)
    assert raw_part(octets, 2)[1] == original


def test_a_header_without_end_is_cut():
    original = b"X: y\r\n" * 50_000
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)
    assert len(raw_part(octets, 2)[1]) <= given_back.HEADER_LIMIT + len(given_back.CUT)
