"""What is read of the bounces of others, and of the way of a message."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.noticing import HEADER, a_message, a_notice, a_utf8_notice
from waypost.domain import messages, reports
from waypost.domain.reports import Report

# The bounces of others.


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
def test_a_report_is_known_by_its_type(header, is_report):
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
    (a_report(RECIPIENT, top="multipart/mixed"), None),
    (a_report(RECIPIENT, kind="text/plain"), None),
    (a_report(RECIPIENT).partition(b"Final")[0], None),
    (b"Content-Type: multipart/report\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n",
     Report(final_recipient="", action="failed", status="", diagnostic="")),
    (b"", None),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "report"), REPORTS)
def test_what_a_bounce_says_is_read(octets, report):
    assert reports.read_report(octets) == report


@given(st.binary(max_size=300), st.sampled_from(["", "base64", "quoted-printable", "x"]))
def test_any_bounce_can_be_read(octets, encoding):
    reports.read_report(octets)
    before, _, after = a_report("!", encoding=encoding).partition(b"!")
    report = reports.read_report(before + octets + after)
    for value in (report.final_recipient, report.diagnostic) if report else ():
        assert len(value) <= 500
        assert value.isprintable() or not value.isascii()


@pytest.mark.parametrize(
    "filler", [b"\n", b"\r\n \r\n", b"Content-Type:", b"(", b"\nAction:", b" ", b"\r\n--", b"=", b"\n "]
)
def test_a_bounce_of_megabytes_is_read_as_quickly_as_any_other(filler):
    reports.read_report(a_report("Status: x" + filler.decode() * 1_000_000))


# The way of a message.


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
    (b"Received: by a\r\n" + b"Received: by b\r\n" * 200, ["b"] * 100 + ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("header", "path"), HOPS)
def test_the_way_of_a_message_is_read_from_its_header(header, path):
    assert reports.hops(header) == path


def test_the_way_is_read_from_what_we_write():
    header = messages.trace_header(a_message(), hostname="mx.example.com", delivered_to="a", sent_to="b")
    assert reports.hops(header + b"Received: by first.test; now\r\n" + HEADER) == ["first.test", "mx.example.com"]


@given(st.binary(max_size=300))
def test_any_header_has_a_way(header):
    for name in reports.hops(b"Received: by " + header + b"\r\nReceived: " + header):
        assert re.fullmatch(r"[\w.:\[\]?-]+", name, re.ASCII)


@pytest.mark.parametrize("filler", [b"(", b" by", b"\r\n ", b"\r\nReceived: by ", b"()", b" "])
def test_a_header_of_megabytes_has_a_way_as_quickly_as_any_other(filler):
    assert len(reports.hops(b"Received: from x " + filler * 200_000)) <= 101
