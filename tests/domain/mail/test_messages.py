"""The values that are read from a message's header, and the trace header."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from waypost.domain import errors
from waypost.domain.mail import messages
from waypost.domain.mail.messages import Dsn, Envelope, Message, RecipientDsn

NOW = datetime(2026, 11, 22, 23, 14, 5, 678000, tzinfo=UTC)
KEY = b"k" * 32


def a_message(**changes):
    envelope = {
        "sender": "ann@example.org",
        "recipients": ("support@example.com",),
        "helo": "client.example.org",
        "peer": "192.0.2.1",
        "protocol": "ESMTP",
    }
    return Message(id="ID", envelope=Envelope(**envelope | changes), received_at=NOW, size=3, subject="")


SUBJECTS = [
    (b"Subject: Hello\r\n\r\n", "Hello"),
    (b"From: a\r\nsubject:Hello \r\nTo: b\r\n\r\nSubject: body\r\n", "Hello"),
    (b"SUBJECT : spaced\r\n\r\n", "spaced"),
    (b"Subject: folded\r\n over lines\r\n\tand tabs\r\nTo: b\r\n\r\n", "folded over lines\tand tabs"),
    (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= and =?utf-8?b?8J+YgA==?=\r\n\r\n", "Grüße and 😀"),
    (b"Subject: =?unknown-charset?q?x?=\r\n\r\n", "=?unknown-charset?q?x?="),
    (b"Subject: =?utf-8?b?broken\r\n\r\n", "=?utf-8?b?broken"),
    (b"Subject: =?utf-8?b?A?=\r\n\r\n", "=?utf-8?b?A?="),
    ("Subject: Grüße\r\n\r\n".encode(), "Grüße"),
    (b"Subject: \xff\xfe\r\n\r\n", "ÿþ"),
    ("Subject: Grüße €16\r\n\r\n".encode("cp1252"), "Grüße €16"),
    (b'Subject: "=?utf-8*de?Q?Gr=C3=BC?=\r\n =?utf-8?Q?=C3=9Fe?="\r\n\r\n', '"Grüße"'),
    (b"Subject: a\x00b\x1bc\r\n\r\n", "a\ufffdb\ufffdc"),
    ("Subject: =?ü?q?x?=\r\n\r\n".encode(), "=?ü?q?x?="),
    (b"Subject: =?utf-7?q?+2AA-?=\r\n\r\n", "\ufffd"),
    (b"Subject: =?utf-8?q?a=0D=0AX:_y=E2=80=AE?=\r\n\r\n", "a\ufffd\ufffdX: y\ufffd"),
    (b"Subject: =?utf-8?b?SSBsaWtlIElrZQo=?=\r\n\r\n", "I like Ike"),
    (b"Subject: C1 \xc2\x9b2J\r\n\r\n", "C1 \ufffd2J"),
    (b"Subject:\r\n\r\n", ""),
    (b"To: b\r\n\r\nno subject\r\n", ""),
    (b"", ""),
    (b"\r\n", ""),
    (b"\r\nSubject: body\r\n\r\n", ""),
    (b"no header at all\r\n", ""),
    (b"Subject: header without end", "header without end"),
]


@pytest.mark.parametrize(("raw", "subject"), SUBJECTS)
def test_the_subject_is_decoded_to_readable_text(raw, subject):
    assert messages.read_header(raw).subject == subject


def test_a_long_subject_is_cut_to_its_limit():
    assert messages.read_header(b"Subject: " + b"x" * 5000 + b"\r\n\r\n").subject == "x" * 998


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx"])
def test_a_long_subject_is_not_cut_in_the_middle_of_a_character(before):
    subject = before + "😀" * 5000
    assert messages.read_header(f"Subject: {subject}\r\n\r\n".encode()).subject == subject[:998]


def test_a_long_subject_of_encoded_words_reaches_the_full_length():
    word = b"=?utf-8?q?" + b"=E4=BD=A0" * 6 + b"?="
    assert messages.read_header(b"Subject: " + b"\r\n ".join([word] * 1000)).subject == "你" * 998


def test_a_long_subject_that_is_not_utf_8_reaches_the_full_length():
    assert messages.read_header(b"Subject: " + b"\x80" * 2_000_000).subject == "€" * 998


def test_a_header_of_several_megabytes_is_read_quickly():
    folds = b"Subject: a" + b"\r\n " * 1_000_000 + b"\r\nReceived: x" * 100_000
    facts = messages.read_header(folds)
    assert facts.subject == "a"
    assert facts.received_lines == 101


def test_received_lines_are_counted_only_in_the_header():
    raw = b"Received: one\r\n\tfolded\r\nreceived : two\r\nReceived-SPF: no\r\n\r\nReceived: body\r\n"
    assert messages.read_header(raw).received_lines == 2


@given(st.binary(max_size=300))
def test_arbitrary_bytes_can_be_read_as_a_header(raw):
    messages.read_header(b"Subject: " + raw)


@given(st.text(max_size=60))
def test_a_readable_subject_has_no_control_characters(text):
    subject = messages.read_header(b"Subject: =?utf-8?q?" + text.encode("utf-8", "replace") + b"?=\r\n\r\n").subject
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", subject)


def test_ids_are_version_7_uuids_that_sort_by_time():
    first = messages.new_id(NOW, 0, b"\xff" * 8)
    same_moment = messages.new_id(NOW, 1, b"\x00" * 8)
    second = messages.new_id(NOW + timedelta(milliseconds=1), 0, b"\x00" * 8)

    assert first < same_moment < second
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", second)


def test_the_trace_header_of_a_direct_delivery():
    header = messages.trace_header(
        a_message(), hostname="mx.example.com", delivered_to="support@example.com", sent_to="Support@example.com"
    )  # fmt: skip

    assert header == (
        b"Return-Path: <ann@example.org>\r\n"
        b"Delivered-To: support@example.com\r\n"
        b"Received: from client.example.org ([192.0.2.1])\r\n"
        b"\tby mx.example.com with ESMTP id ID\r\n"
        b"\tfor <Support@example.com>; Sun, 22 Nov 2026 23:14:05 +0000\r\n"
    )


def test_the_trace_header_of_a_forwarded_copy_has_loop_tokens_and_an_ipv6_literal():
    header = messages.trace_header(
        a_message(sender="", peer="2001:db8::1"), hostname="mx", delivered_to="p@x.example", sent_to="a@x.example",
        tokens=["abc", "def"], delivery_id="m.p",
    )  # fmt: skip

    assert header.startswith(b"Return-Path: <>\r\n")
    assert b"([IPv6:2001:db8::1])" in header
    assert header.endswith(b"\r\nX-Waypost-Loop: abc\r\nX-Waypost-Loop: def\r\nX-Waypost-Delivery: m.p\r\n")
    assert messages.without_return_path(header) == header.removeprefix(b"Return-Path: <>\r\n")
    assert messages.without_return_path(b"Received: x\r\n") == b"Received: x\r\n"


FOR = "\r\n\tfor <{}>; Sun, 22 Nov 2026 23:14:05 +0000\r\n"


@pytest.mark.parametrize(
    ("changes", "delivered_to", "expected"),
    [
        ({}, "desk@example.com", ";\r\n\tSun, 22 Nov 2026 23:14:05 +0000\r\n"),
        ({"sent_to": "help@bücher.example"}, "desk@example.com", FOR.format("help@xn--bcher-kva.example")),
        ({}, "desk@bücher.example", ";\r\n\tSun, 22 Nov 2026 23:14:05 +0000\r\n"),
        ({}, "büro@example.com", FOR.format("grüße@example.com")),
        ({"delivery_id": ""}, "desk@example.com", FOR.format("grüße@example.com")),
        ({"delivery_id": "", "sent_to": "a@bücher.example"}, "desk@example.com", FOR.format("a@bücher.example")),
    ],
)
def test_the_trace_header_of_a_copy_that_leaves_the_server_is_ascii_if_possible(changes, delivered_to, expected):
    options = {"sent_to": "grüße@example.com", "delivery_id": "m.p"} | changes
    header = messages.trace_header(a_message(protocol="UTF8SMTP"), hostname="mx", delivered_to=delivered_to, **options)

    received = header.decode().partition("\tby mx with UTF8SMTP id ID")[2].removesuffix("X-Waypost-Delivery: m.p\r\n")
    assert received == expected
    is_needed = "ü" in expected or "ü" in delivered_to.partition("@")[0]
    assert header.isascii() is not is_needed


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"Message-ID: <a@b.example>", "a@b.example"),
        (b"message-id :\r\n <a@b.example> (comment)", "a@b.example"),
        (b"Message-ID: 20261129.42@scanner.example", "20261129.42@scanner.example"),
        (b"Message-ID:\r\n 42@scanner.example (by a scanner)", "42@scanner.example"),
        (b"Message-ID: <a@b.example", "a@b.example"),
        (b"Message-ID: a@b.example>", "a@b.example"),
        (b'Message-ID: <"a b"@x.example>', '"a b"@x.example'),
        (b"Message-ID: < a \t\r\n b@x.example > <c@x.example>", "a b@x.example"),
        (b"Message-ID: <a@b.example>\r\nMessage-ID: <c@b.example>", "a@b.example"),
        (b"Message-ID:", ""),
        (b"Message-ID: (none)", ""),
        (b"Message-ID: <>", ""),
        (b"Message-ID: <" + b"x" * 999 + b">", ""),
        (b"X-Message-ID: <a@b.example>", ""),
    ],
)
def test_the_message_id_is_read_from_a_header(line, found):
    assert messages.read_header(b"Subject: x\r\n" + line + b"\r\n\r\n").header_id == found


@pytest.mark.parametrize("filler", [b"<", b"(", b"\r\n ", b" ", b"()", b"\xff"])
def test_a_message_id_of_a_megabyte_is_ignored(filler):
    assert messages.read_header(b"Message-ID: x" + filler * 1_000_000 + b"y").header_id in {"", "x"}


def test_the_dsn_parameters_of_a_recipient_are_found_by_its_address_as_written():
    never = RecipientDsn(("NEVER",))
    envelope = replace(a_message().envelope, recipients=("a@x.example", "b@x.example"))
    assert envelope.wishes_for("a@x.example") == RecipientDsn()
    envelope = replace(envelope, dsn=Dsn(recipients=(never, RecipientDsn())))
    assert envelope.wishes_for("a@x.example") == never
    assert envelope.wishes_for("c@x.example") == RecipientDsn()


def test_the_dsn_parameters_of_all_recipients_are_returned_together():
    never, other = RecipientDsn(("NEVER",)), RecipientDsn(("DELAY",))
    envelope = replace(a_message().envelope, recipients=("a@x.example", "b@x.example", "a@x.example"))
    assert envelope.wishes() == {}
    envelope = replace(envelope, dsn=Dsn(recipients=(never, RecipientDsn(), other)))
    assert envelope.wishes() == {one: envelope.wishes_for(one) for one in envelope.recipients}
    assert envelope.wishes()["a@x.example"] == never


def facts(*tokens, received=0):
    lines = [f"X-Waypost-Loop: {token}" for token in tokens] + ["Received: x"] * received
    return messages.read_header("\r\n".join([*lines, "", ""]).encode())


def test_a_message_that_this_alias_forwarded_before_is_a_mail_loop():
    token = messages.loop_token(KEY, "alias-1")
    with pytest.raises(errors.MailLoop, match="forwarded here before"):
        messages.refuse_loop(facts("other", token), ids=["alias-0", "alias-1"], keys=[KEY])


def test_a_loop_token_with_a_key_that_has_been_replaced_is_recognised():
    token = messages.loop_token(b"the key before", "alias-1")
    with pytest.raises(errors.MailLoop, match="forwarded here before"):
        messages.refuse_loop(facts(token), ids=["alias-1"], keys=[KEY, b"the key before"])


@pytest.mark.parametrize(
    "found",
    [
        facts(),
        facts("forged"),
        facts(messages.loop_token(KEY, "another-alias")),
        facts(messages.loop_token(b"another system", "alias-1")),
        facts(received=100),
    ],
)
def test_foreign_loop_tokens_and_a_hundred_hops_are_not_a_mail_loop(found):
    messages.refuse_loop(found, ids=["alias-1"], keys=[KEY])


def test_more_than_a_hundred_hops_are_a_mail_loop():
    with pytest.raises(errors.MailLoop, match="more than 100 Received lines"):
        messages.refuse_loop(facts(received=101), ids=[], keys=[KEY])


@pytest.mark.parametrize(
    ("helo", "written"), [("x(", "x?"), ("x;y", "x?y"), ("[192.0.2.1]", "[192.0.2.1]"), ("a_b-c.d", "a_b-c.d")]
)
def test_special_characters_in_a_helo_name_are_replaced_in_the_received_line(helo, written):
    header = messages.trace_header(a_message(helo=helo), hostname="mx", delivered_to="a", sent_to="a")
    assert f"\r\nReceived: from {written} ([".encode() in header


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200f", "\u2028"])
def test_a_subject_cannot_change_the_direction_of_the_text_after_it(mark):
    facts = messages.read_header(f"Subject: a{mark}b\r\n\r\n".encode())
    assert facts.subject == "a\N{REPLACEMENT CHARACTER}b"


def test_an_id_contains_the_time_at_which_the_server_began_to_receive_the_message():
    moment = datetime(2026, 12, 1, 12, 30, 15, 678_000, tzinfo=UTC)
    assert messages.time_of(messages.new_id(moment, 4095, b"\xff" * 8)) == moment
    assert messages.time_of(messages.first_id(messages.EPOCH)) == messages.EPOCH
