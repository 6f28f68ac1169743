"""How bounces from other servers, and the path of a message, are read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.dsn.written_notices import HEADER, a_message, a_notice, a_utf8_notice
from waypost.domain.dsn import reports
from waypost.domain.dsn.reports import Report
from waypost.domain.mail import messages

# Bounces from other servers.


@pytest.mark.parametrize(
    ("header", "is_report"),
    [
        (b"Content-Type: multipart/report; report-type=delivery-status\r\n", True),
        (b"To: a\r\ncontent-type :\r\n\tMultipart/Report\r\n", True),
        (b"Content-Type: text/plain\r\nX: multipart/report\r\n", False),
        (b"X-Content-Type: multipart/report\r\n", False),
        (b"", False),
    ],
)
def test_a_report_is_recognized_by_its_content_type(header, is_report):
    assert reports.is_report(header) is is_report


def test_our_own_notices_can_be_read():
    assert reports.read_report(a_notice()) == Report(
        final_recipient="support@example.com", action="failed", status="5.1.1", diagnostic="550 5.1.1 User unknown"
    )
    assert reports.read_report(a_utf8_notice()).final_recipient == "ännchen@example.com"


def a_report(fields, *, kind="message/delivery-status", encoding="", top="multipart/report"):
    head = f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    return (
        f"Content-Type: {top}; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n--b\r\n"
        f"{head}Content-Type: {kind}\r\n\r\n{fields}\r\n--b\r\n"
        "Content-Type: message/rfc822\r\n\r\nAction: delivered\r\n\r\n--b--\r\n"
    ).encode()


RECIPIENT = "Final-Recipient: rfc822; x@y.test\r\nAction: Failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 full"
READ = Report(final_recipient="x@y.test", action="failed", status="5.2.2", diagnostic="552 full")

REPORTS = [
    (a_report(f"Reporting-MTA: dns; y.test\r\n\r\n{RECIPIENT}"), READ),
    (a_report(f"{RECIPIENT}\r\n\r\nFinal-Recipient: rfc822; z@y.test\r\nAction: delivered"), READ),
    (a_report(f"Reporting-MTA: dns; y.test\r\n \r\n{RECIPIENT.lower()}", kind="Message/Global-Delivery-Status"), READ),
    (a_report("UmVwb3J0aW5nLU1UQTogZG5zOyB4CgpBY3Rpb246IGZhaWxlZAo=", encoding="base64"),
     Report(final_recipient="", action="failed", status="", diagnostic="")),
    (a_report("X: y=0D=0A=0D=0AAction:=20relayed", encoding="Quoted-Printable"),
     Report(final_recipient="", action="relayed", status="", diagnostic="")),
    (a_report("Action: failed", encoding="base64"), None),
    (a_report("QUJD!", encoding="base64"), None),
    (a_report("Action: vanished\r\nStatus: never\r\nDiagnostic-Code: no type\r\nFinal-Recipient: x@y"),
     Report(final_recipient="x@y", action="", status="", diagnostic="no type")),
    (a_report("Diagnostic-Code: smtp;\r\n\t550 two\r\n\tlines\x1b\x00"),
     Report(final_recipient="", action="", status="", diagnostic="550 two lines")),
    (a_report("Diagnostic-Code: smtp; " + "x" * 5000),
     Report(final_recipient="", action="", status="", diagnostic="x" * 500)),
    (a_report("Reporting-MTA: dns; y.test"), None),
    (a_report(RECIPIENT, kind="text/plain"), None),
    (a_report(RECIPIENT).partition(b"Final")[0], None),
    (b"Content-Type: message/delivery-status\r\n\r\nAction: failed\r\n",
     Report(final_recipient="", action="failed", status="", diagnostic="")),
    (b"", None),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "report"), REPORTS)
def test_the_fields_of_a_bounce_are_read(octets, report):
    assert reports.read_report(octets) == report


@pytest.mark.parametrize(
    ("fields", "action", "status"),
    [
        ("Action: failed\r\nStatus: 5.2.2 (mailbox full)", "failed", "5.2.2"),
        ("Action: failed\r\nStatus: 5.0.0\r\n (recipient (x@y.test) reached\r\n disk quota)", "failed", "5.0.0"),
        ("Action: failed (bad address)\r\nStatus: 5.1.1", "failed", "5.1.1"),
        ("Action: (it is) Failed\r\nStatus: 5.1.1", "failed", "5.1.1"),
        ("Action: failure\r\nStatus: 553 Exceeded maximum size", "failed", ""),
        ("Action: error\r\nStatus: 5.0.0", "failed", "5.0.0"),
        ("Action: deferred\r\nStatus: 4.4.1 (Persistent transient failure)", "delayed", "4.4.1"),
        ("ACTION :\r\n\tDelayed, for now\r\nSTATUS : 4.4.1", "delayed", "4.4.1"),
        ("Action: expanded (to a list)\r\nStatus: 2.0.0", "expanded", "2.0.0"),
        ("Action: expired\r\nStatus:", "failed", ""),
        ("Status: 5.3.0", "failed", "5.3.0"),
        ("Status: 4.4.1", "", "4.4.1"),
        ("Status: 2.1.5", "", "2.1.5"),
        ("Action: unfailed\r\nStatus: 5.0.0", "", "5.0.0"),
        ("Action: failed\r\nAction: delivered\r\nStatus: 5.0.0\r\nStatus: 2.0.0", "failed", "5.0.0"),
        ("Action: failed\nStatus: 5.0.0", "failed", "5.0.0"),
    ],
)
def test_a_failure_is_recognized_despite_comments_and_nonstandard_words(fields, action, status):
    report = reports.read_report(
        a_report(f"Reporting-MTA: dns; y.test\r\n\r\n{fields}\r\nFinal-Recipient: rfc822; x@y")
    )
    assert (report.action, report.status, report.final_recipient) == (action, status, "x@y")


@pytest.mark.parametrize(
    ("field", "recipient"),
    [
        ("rfc822; x@y.test", "x@y.test"),
        ("rfc822;<x@y.test>", "x@y.test"),
        ("<x@y.test>", "x@y.test"),
        ("x@y.test", "x@y.test"),
        ("x400; /S=x;/C=GB/", "/S=x;/C=GB/"),
        ("X-LOCAL;x", "x"),
        ("utf-8; \\x{E4}@y.test", "\\x{E4}@y.test"),
        ("rfc822", "rfc822"),
        ("", ""),
    ],
)
def test_a_recipient_of_any_address_type_is_read(field, recipient):
    assert reports.read_report(a_report(f"Final-Recipient: {field}\r\nAction: failed")).final_recipient == recipient


def test_a_diagnostic_without_a_type_is_read_completely():
    report = reports.read_report(a_report("Action: failed\r\nDiagnostic-Code: 550 5.1.1 <x@y.test> unknown; see help"))
    assert report.diagnostic == "550 5.1.1 <x@y.test> unknown; see help"


# The recipient that is reported.

DELIVERED = "Final-Recipient: rfc822; d@y.test\r\nAction: delivered\r\nStatus: 2.0.0"
DELAYED = "Final-Recipient: rfc822; l@y.test\r\nAction: delayed\r\nStatus: 4.4.1"


@pytest.mark.parametrize("blank", ["\r\n\r\n", "\r\n \t\r\n \r\n", "\n\n\n", "\r\n\r\nX-Other: y\r\n\r\n"])
def test_the_first_recipient_that_failed_is_reported(blank):
    groups = ["Reporting-MTA: dns; y.test", DELIVERED, DELAYED, RECIPIENT, "Action: failed\r\nStatus: 5.9.9"]
    assert reports.read_report(a_report(blank.join(groups))) == READ
    assert reports.read_report(a_report(blank.join(groups[:3]))).final_recipient == "d@y.test"


def test_fields_that_an_empty_line_separates_belong_to_different_recipients():
    report = reports.read_report(a_report(f"{DELIVERED}\r\n\r\nAction: failed\r\n\r\nStatus: 5.1.1"))
    assert report == Report(final_recipient="", action="failed", status="", diagnostic="")


def test_only_the_first_of_very_many_recipients_are_read():
    many = "\r\n\r\n".join([DELIVERED] * 200)
    assert reports.read_report(a_report(f"{many}\r\n\r\n{RECIPIENT}")).final_recipient == "d@y.test"
    assert reports.read_report(a_report(f"{many[: len(many) // 2]}\r\n\r\n{RECIPIENT}")) == READ


def test_a_second_delivery_status_is_read_if_the_first_reports_no_failure():
    first = a_report(DELIVERED).removesuffix(b"--b--\r\n")
    assert reports.read_report(first + b"--b" + a_report(RECIPIENT).partition(b"--b")[2]) == READ


# The place of the report in a message.


def a_part(kind, body, boundary="b"):
    kind += f'; boundary="{boundary}"' if kind.lower().startswith("multipart/") else ""
    return f"Content-Type: {kind}\r\n\r\n{body}".encode()


def several(*parts, boundary="b"):
    lines = [b"", *(b"--" + boundary.encode() + b"\r\n" + part for part in parts), f"--{boundary}--".encode(), b"end"]
    return b"\r\n".join(lines).decode()


STATUS = a_part("message/delivery-status", f"Reporting-MTA: dns; y.test\r\n\r\n{RECIPIENT}\r\n")
TEXT = a_part("text/plain", "Sorry.")
REPORT = a_part("multipart/report; report-type=delivery-status", several(TEXT, STATUS, boundary="r"), "r")


@pytest.mark.parametrize(
    "top", ["multipart/mixed", "Multipart/Related", "multipart/report; report-type=delivery-status"]
)
@pytest.mark.parametrize("parts", [[TEXT, STATUS], [b"\r\nSorry.", STATUS], [STATUS], [TEXT, REPORT], [REPORT]])
def test_a_report_is_found_in_any_multipart(top, parts):
    assert reports.read_report(a_part(top, several(*parts))) == READ
    as_lf = a_part(top, several(*parts)).replace(b"\r\n", b"\n")
    assert reports.read_report(as_lf) == READ


@pytest.mark.parametrize("boundary", ["=_ _= 461730(24445)", "b/c.d+e*", "b" * 70])
def test_a_boundary_may_have_every_character_that_mime_allows(boundary):
    assert reports.read_report(a_part("multipart/mixed", several(TEXT, STATUS, boundary=boundary), boundary)) == READ


@pytest.mark.parametrize("kind", ["multipart/mixed;boundary=b", "multipart/mixed; charset=x;\r\n\tBoundary = b;x=y"])
def test_a_boundary_may_be_without_quotes(kind):
    assert reports.read_report(f"Content-Type: {kind}\r\n\r\n{several(TEXT, STATUS)}".encode()) == READ


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/report",
        'multipart/report; boundary=""',
        "multipart/report; boundary=x",
        'multipart/report; boundary="b  c"',
    ],
)
def test_a_boundary_that_the_header_does_not_name_is_read_from_the_body(kind):
    octets = f"Content-Type: {kind}\r\n\r\nThis is MIME.\r\n{several(TEXT, STATUS, boundary='b  c')}".encode()
    assert reports.read_report(octets) == READ
    assert reports.read_report(octets.partition(b"--")[0]) is None


def test_a_boundary_is_not_confused_with_a_longer_boundary_that_begins_with_it():
    inner = a_part("multipart/report", several(TEXT, STATUS, boundary="b1"), "b1")
    assert reports.read_report(a_part("multipart/mixed", several(TEXT, inner))) == READ


def test_a_truncated_report_is_read():
    whole = a_part("multipart/mixed", several(TEXT, STATUS))
    assert reports.read_report(whole.partition(b"\r\nDiagnostic")[0]).status == "5.2.2"


@pytest.mark.parametrize(
    "octets",
    [
        a_part("multipart/mixed", several(TEXT, a_part("message/rfc822", REPORT.decode()))),
        a_part("multipart/report; report-type=disposition-notification",
               several(TEXT, a_part("message/rfc822", REPORT.decode()))),
        a_part("message/rfc822", REPORT.decode()),
        a_part("multipart/mixed", several(a_part("text/plain", STATUS.decode()))),
        a_part("multipart/mixed", several(b"\r\n" + STATUS)),
        a_part("multipart/mixed", STATUS.decode()),
        a_part("text/plain", RECIPIENT),
    ],
)  # fmt: skip
def test_a_report_that_is_attached_or_quoted_is_ignored(octets):
    """An automatic reply can contain the message that it answers, and that message can be a report about other mail."""
    assert reports.read_report(octets) is None


def test_a_report_that_a_filter_wrapped_in_a_message_is_read():
    kind = "multipart/mixed; report-type=delivery-status"
    assert reports.read_report(a_part(kind, several(a_part("message/rfc822", REPORT.decode()), TEXT))) == READ


def test_only_the_first_of_very_many_parts_are_examined():
    status = b"Content-Type: message/delivery-status\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\n"
    inner = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n"
    middle = b"--b\r\n" + inner % b"c" + b"--c\r\n\r\na\r\n" * 9
    few, many = (inner % b"b" + middle * times + b"--b\r\n" + status for times in (8, 9))
    assert reports.read_report(few)
    assert reports.read_report(many)
    deep = b"--a\r\n" + inner % b"b" + middle * 9
    assert reports.read_report(inner % b"a" + deep + b"--a\r\n" + status)
    assert reports.read_report(inner % b"a" + deep * 2 + b"--a\r\n" + status) is None


def test_nested_parts_are_examined_up_to_a_limit():
    octets = STATUS
    for depth in range(3):
        octets = a_part("multipart/mixed", several(TEXT, octets, boundary=f"n{depth}"), f"n{depth}")
        assert reports.read_report(octets) == READ
    assert reports.read_report(a_part("multipart/mixed", several(octets))) is None
    assert reports.read_report(a_part("multipart/mixed", several(*[TEXT] * 9, STATUS))) == READ
    assert reports.read_report(a_part("multipart/mixed", several(*[TEXT] * 10, STATUS))) is None


@given(st.binary(max_size=300), st.sampled_from(["", "base64", "quoted-printable", "x"]))
def test_arbitrary_bytes_can_be_read_as_a_bounce(octets, encoding):
    reports.read_report(octets)
    before, _, after = a_report("!", encoding=encoding).partition(b"!")
    report = reports.read_report(before + octets + after)
    for value in (report.final_recipient, report.diagnostic) if report else ():
        assert len(value) <= 500
        assert value.isprintable() or not value.isascii()


@pytest.mark.parametrize(
    "filler",
    [
        "\n", "\r\n \r\n", "Content-Type:", "(", "\nAction:", "\n\nAction:", " ", "\r\n--", "=", "\n ",
        "\n--b\n", "\n--bx\n",
        "\n--b\nContent-Type: message/delivery-status\n\nAction: x\n",
        "\n--b\nContent-Type: multipart/mixed; boundary=b\n\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["Status: x", "x"])
def test_a_bounce_of_several_megabytes_is_read_quickly(filler, before):
    reports.read_report(a_report(before + filler * (4_000_000 // len(filler))))


# The path of a message.


HOPS = [
    (b"", []),
    (b"To: a\r\nSubject: received: by x\r\n", []),
    (b"Received: from a by b with SMTP; now\r\nReceived: from x by a; now\r\n", ["a", "b"]),
    (b"Received: from client.example.org ([192.0.2.1])\r\n\tby mx.example.com with ESMTP id 1\r\n\tfor <a@b>; now\r\n",
     ["mx.example.com"]),
    (b"received : by mx.test (by nobody) id 1\r\n", ["mx.test"]),
    (b"Received: from x (helo by (a (b) by c)) by d; now\r\n", ["d"]),
    (b"Received: (qmail 1 invoked by uid 0); now\r\n", ["?"]),
    (b"Received: from a BY [192.0.2.1]; now\r\n", ["[192.0.2.1]"]),
    (b"Received: from a by \x1b[2J\xff; now\r\n", ["?[2J?"]),
    (b"Received: from a by " + b"x" * 1000 + b"\r\n", ["x" * 255]),
    (b"Received: from a (" + b"b" * 900 + b") by c\r\n", ["c"]),
    (b"Received: from a (" + b"b" * 1000 + b") by c\r\n", ["?"]),
    (b"Received: by a\r\n" + b"Received: by b\r\n" * 200, ["b"] * 100 + ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("header", "path"), HOPS)
def test_the_path_of_a_message_is_read_from_its_header(header, path):
    assert reports.hops(header) == path


@pytest.mark.parametrize(
    ("names", "path"),
    [
        ([b"a", b"b"], ["b", "a"]),
        ([b"a" * 250] * 4, ["a" * 250] * 4),
        ([b"a" * 250] * 5, [reports.EARLIER, *["a" * 250] * 4]),
        ([b"last", *[b"a" * 251] * 4], [reports.EARLIER, *["a" * 251] * 3, "last"]),
        ([b"a" * 10] * 101, [reports.EARLIER, *["a" * 10] * 100]),
    ],
)
def test_a_path_that_is_too_long_to_store_keeps_only_the_last_servers(names, path):
    assert reports.path(b"".join(b"Received: by %s\r\n" % name for name in names)) == path


def test_the_path_includes_the_received_field_that_waypost_writes():
    header = messages.trace_header(a_message(), hostname="mx.example.com", delivered_to="a", sent_to="b")
    assert reports.hops(header + b"Received: by first.test; now\r\n" + HEADER) == ["first.test", "mx.example.com"]


@given(st.binary(max_size=300))
def test_the_path_is_safe_to_show_for_any_header(header):
    for name in reports.hops(b"Received: by " + header + b"\r\nReceived: " + header):
        assert re.fullmatch(r"[\w.:\[\]?-]+", name, re.ASCII)


@pytest.mark.parametrize("filler", [b"(", b" by", b"\r\n ", b"\r\nReceived: by ", b"()", b" "])
def test_the_path_in_a_header_of_several_megabytes_is_read_quickly(filler):
    assert len(reports.hops(b"Received: from x " + filler * 200_000)) <= 101
