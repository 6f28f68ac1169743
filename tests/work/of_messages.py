"""The parsers that run in a store transaction: for messages, and for the addresses and strings of a call."""

import json
from datetime import UTC, datetime
from functools import cache

from tests.work.rows import HEADER, PLAIN_HEADERS, Where, field, filled, of_few_lines, refusing, rows, text
from waypost.domain import errors
from waypost.domain.directory import addresses, caseless
from waypost.domain.dsn import redact, reports, returned_content
from waypost.domain.iam import decisions, policies
from waypost.domain.mail import encoded_words, messages
from waypost.domain.mailauth import srs, verdicts, vouching

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

U = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"
MARKS = "\u0315\u0300\u05ae\u0301"
"""Combining marks that Unicode normalization must reorder."""

_REPORT = (
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\n"
)
_STATUS = b"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: "
_MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"


def _parts_of_parts(size: int) -> bytes:
    """Return a message with three levels of multiparts, each with ten parts."""
    inner = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n"
    leaves = (b"--d\r\n" + b"Content-Type: a\r\n" * 2 + b"\r\n") * 10
    middle = (b"--c\r\n" + inner % b"d" + leaves) * 10
    whole = (b"--b\r\n" + inner % b"c" + middle) * 10
    return (inner % b"b" + whole)[:size]


_CHARSETS = {
    "euc-jp": b"rcGtwQ==",
    "iso-2022-jp": b"GyRCNEE=",
    "gb18030": b"vLk=",
    "utf-7": b"K0FB",
    "hz": b"fns=",
    "big5": b"pKQ=",
}


@cache
def _policy() -> policies.Policy:
    """Return a policy with enough wildcards to make a matcher search."""
    wild = "a" + "*a" * 60
    condition = {"StringLike": {"aws:UserAgent": [f"{wild}?b", "*" + "?" * 100 + "b"]}}
    return policies.parse(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Deny", "Action": "connect:*", "Resource": f"arn:aws:connect:*:*:instance/{wild}b"},
                    {"Effect": "Deny", "Action": "connect:*a*a*a*a*b", "Resource": "*"},
                    {"Effect": "Deny", "Action": "connect:*", "Resource": "*", "Condition": condition},
                ],
            }
        )
    )


def _decide(value: str) -> object:
    return decisions.decide(
        _policy(),
        action="connect:" + value[:64],
        resource=f"arn:aws:connect:us-east-1:000000000000:instance/{value[:2_000]}",
        lookup=lambda _: (value,),
    )


ROWS = [
    *(
        parser
        for name in (b"Subject", b"Received", b"Message-ID", b"X-Waypost-Loop")
        for parser in rows(
            "header of a message", Where.TRANSACTION, HEADER, messages.read_header, of_few_lines(field(name))
        )
    ),
    *rows("header of a message", Where.TRANSACTION, HEADER, messages.read_header, of_few_lines(PLAIN_HEADERS)),
    *rows(
        "header of a message",
        Where.TRANSACTION,
        HEADER,
        messages.read_header,
        {
            f"subject in {charset}": filled(octets, b"Subject: =?" + charset.encode() + b"?b?", b"?=\r\n")
            for charset, octets in _CHARSETS.items()
        },
    ),
    *rows(
        "forged results",
        Where.TRANSACTION,
        HEADER,
        lambda header: verdicts.count_forged(header, "mx.example"),
        of_few_lines(field(b"Authentication-Results") | PLAIN_HEADERS),
    ),
    *rows(
        "header in a bounce",
        Where.TRANSACTION,
        HEADER,
        returned_content.header,
        of_few_lines(field(b"Received") | field(b"ARC-Seal") | PLAIN_HEADERS),
    ),
    *rows(
        "message in a bounce",
        Where.TRANSACTION,
        returned_content.WHOLE_LIMIT,
        returned_content.whole,
        {
            "fields of servers": filled(b"Received: a\r\n"),
            "one folded field": filled(b" a\r\n", b"Received: a\r\n"),
            "empty lines": filled(b"\r\n", b"Subject: a\r\n"),
            "one long line": filled(b"a", b"Subject: a\r\n\r\n"),
        },
    ),
    *rows(
        "address in From",
        Where.TRANSACTION,
        HEADER,
        vouching.author_key,
        of_few_lines(field(b"From") | PLAIN_HEADERS),
    ),
    *rows(
        "detection of reports",
        Where.TRANSACTION,
        HEADER,
        reports.is_report,
        of_few_lines(field(b"Content-Type") | PLAIN_HEADERS),
    ),
    *rows("path", Where.TRANSACTION, HEADER, reports.path, of_few_lines(field(b"Received") | PLAIN_HEADERS)),
    *rows(
        "report",
        Where.TRANSACTION,
        HEADER,
        reports.read_report,
        {
            "recipients": filled(b"Final-Recipient: rfc822; a@b.example\r\nAction: relayed\r\n\r\n", _REPORT),
            "fields of one recipient": filled(b"Status: 5.0.0\r\n", _REPORT),
            "long fields": filled(b"Diagnostic-Code: " + b"(" * 3_900 + b"\r\n\r\n", _REPORT),
            "spaces in lines": filled(b"Action:" + b"\r\n " * 1_300 + b"\r\n\r\n", _REPORT),
            "lines of spaces": filled(b" " * 500 + b"\r\n", _REPORT + b"\r\n"),
            "one line of spaces": filled(b" ", _REPORT + b"\r\n"),
            "blank lines": filled(b"\r\n", _REPORT + b"Action: x\r\n"),
            "beginnings of a boundary": filled(b"--ba\r\n", _REPORT),
            "boundaries": filled(b"--b\r\n", _MULTIPART),
            "boundaries and parts": filled(b"--b\r\n\r\na\r\n", _MULTIPART),
            "no boundary": filled(b"--\r\n", b"Content-Type: multipart/mixed\r\n\r\n"),
            "multiparts in multiparts": filled(_MULTIPART),
            "parts of parts": filled(
                b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + b"--c\r\n\r\na\r\n" * 9, _MULTIPART
            ),
            "parts of parts of parts": _parts_of_parts,
            "statuses of parts": filled(
                b"--b\r\n" + _REPORT.replace(b"=b", b"=c").replace(b"--b", b"--c") + b"Action: x\r\n", _MULTIPART
            ),
            "quoted-printable": filled(b"=0AAction: x=0A", _STATUS + b"quoted-printable\r\n\r\n"),
            "base64": filled(b"CkFjdGlvbjogeAo=", _STATUS + b"base64\r\n\r\n"),
            "quotes in the content type": filled(b'boundary="', b"Content-Type: multipart/mixed; "),
        }
        | field(b"Content-Type")
        | PLAIN_HEADERS,
    ),
    *rows(
        "encoded words",
        Where.TRANSACTION,
        12_000,
        encoded_words.decode,
        {
            "of one letter": filled(b"=?u8?q?a?= "),
            "of charsets in turn": filled(b"=?utf-8?q?a?= =?koi8-r?q?a?= "),
            "unknown": filled(b"=?x?q?a?= "),
            "begun": filled(b"=?utf-8?q?"),
            "of long names": filled(b"=?" + b"u" * 75 + b"?q?"),
        },
    ),
    *rows(
        "SRS address",
        Where.TRANSACTION,
        64,
        srs.claims,
        {"equals signs": text("=", "srs1=aaaaaaaa"), "dots": text("a.", "srs0=aaaaaaaaaaaaaaaaaaaaaa=aa=")},
    ),
    *rows(
        "sender that is rewritten",
        Where.TRANSACTION,
        700,
        lambda sender: srs.rewrite(sender, domain="a.example", message_id="0" * 32, now=NOW, key_of=_key),
        {
            "equals signs": text("=", "srs1=a=", "@a.example"),
            "labels": text("a.", "srs1=a=", "=x@a.example"),
            "UTF-8": text(U, "a@"),
        },
    ),
    *rows(
        "address",
        Where.TRANSACTION,
        1_000,
        refusing(addresses.parse, errors.Invalid),
        {
            "labels": text("a.", "a@"),
            "one label": text("a", "a@"),
            "UTF-8": text(U, "a@"),
            "UTF-8 in the local part": text(U, "", "@a.example"),
            "combining marks": text(MARKS, "a@a"),
            "backslashes": text("\\a", '"', '"@a.example'),
            "dots": text("a.", "", "@a.example"),
        },
    ),
    *rows(
        "text of a search",
        Where.TRANSACTION,
        4_096,
        caseless.fold,
        {
            "combining marks": text(MARKS, "a"),
            "letters that fold to three": text("\ufb03"),
            "Hangul": text("\uac01"),
        },
    ),
    *rows(
        "reply of a peer",
        Where.TRANSACTION,
        4_096,
        redact.one_line,
        {"controls": text("\x1b"), "spaces": text("  a"), "direction marks": text("\u202e")},
    ),
    *rows("IAM wildcards", Where.TRANSACTION, 64 * 1024, _decide, {"a long value": text("a")}),
]


def _key(_: int) -> bytes:
    return b"k"
