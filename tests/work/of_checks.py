"""The parsers in the process that checks senders: for messages, their signatures, and DNS records of their domains."""

import random
from functools import cache

from tests.kit import signed_mail
from tests.work.of_messages import MARKS, U
from tests.work.rows import ANSWER, PLAIN_HEADERS, Where, field, filled, rows, text
from waypost.domain.mailauth import from_header, verdicts
from waypost.domain.mailauth.from_header import Authors, Naming
from waypost.domain.mailauth.verdicts import Claim
from waypost.mailauth import body_hash, dkim_check, message, resolver, spf_check

CLAIM = Claim("192.0.2.1", "client.example", "a-" * 31 + "@" + "a-." * 60 + "client.example")
NOBODY = Authors(Naming.NONE, ())
BODY = LONG = 1024 * 1024
"""The number of bytes of a message. Any part of it may be parsed as its header, because the checks limit the rest."""


class Zone:
    """A DNS resolver that returns the same TXT record for every name."""

    def __init__(self, record: bytes) -> None:
        self._record = record

    def ask(self, _name: str, kind: str, _seconds: float) -> resolver.Found:
        class Text:
            strings = tuple(self._record[start : start + 255] for start in range(0, len(self._record), 255))

        return resolver.Found((Text,) if kind == "TXT" else (), exists=True)


def _authors(octets: bytes) -> Authors:
    return message.author_domains(message.split([octets]))


def _signatures(octets: bytes) -> object:
    """Verify all signatures of a message with one key, without a real DNS server."""
    return dkim_check.check(message.split([octets]), NOBODY, resolver.Questions(Zone(_key_record()), 60))


@cache
def _key_record() -> bytes:
    _, record = signed_mail.key()
    return record if isinstance(record, bytes) else record.encode()


def _signed(tags: bytes) -> bytes:
    return (
        b"DKIM-Signature: v=1; a=rsa-sha256; d=client.example; s=sel; c=relaxed/relaxed; bh="
        b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; " + tags + b"; b=" + b"A" * 342 + b"==\r\n"
    )


def _spf(record: bytes) -> object:
    return spf_check.check(CLAIM, resolver.Questions(Zone(record), 60))


def _key_of(record: bytes) -> object:
    signed = _signed(b"h=from") + b"From: a@client.example\r\n\r\n"
    return dkim_check.check(message.split([signed]), NOBODY, resolver.Questions(Zone(record), 60))


def _hash(octets: bytes) -> object:
    view = [memoryview(octets)]
    return body_hash.body_hash(view, relaxed=True, length=None), body_hash.body_hash(view, relaxed=False, length=None)


ROWS = [
    *rows(
        "authors",
        Where.CHECKS,
        LONG,
        _authors,
        field(b"From")
        | PLAIN_HEADERS
        | {
            "addresses": filled(b"a@client.example,", b"From: ", b"\r\n"),
            "fields of ten": lambda size: filled(b" a", b"From: a@b.example", b"\r\n")(size // 10) * 10,
            "a hundred domains in UTF-8": lambda size: (
                b"From: "
                + (b"<a@" + U.encode() * 120 + b"> ") * min(20, size // 260)
                + b" " * max(0, size - 20 * 260)
                + b"\r\n"
            ),
            "domains of many labels": lambda size: (
                b"From: "
                + (b"<a@" + (U.encode() + b".") * 80 + b"> ") * min(20, size // 260)
                + b" " * max(0, size - 20 * 260)
                + b"\r\n"
            ),
            "domains without an end": lambda size: (
                b"From: " + (b"@" + b"a " * 400) * min(20, size // 1_000) + b"(" * max(0, size - 20 * 1_000) + b"\r\n"
            ),
            "open comments behind addresses": lambda size: (
                b"From: " + (b"@a" + b"(" * 900) * min(20, size // 1_000) + b"\r\n"
            ),
            "marks in domains": lambda size: (
                b"From: " + (b"<a@a" + MARKS.encode() * 30 + b"> ") * min(20, size // 260) + b"\r\n"
            ),
            "invisible letters": filled("\u200b".encode(), b"From: a@b.example", b"\r\n"),
            "look-alikes": filled("\uff21".encode(), b"From: a@b.example", b"\r\n"),
            "ligatures that grow": filled("\ufdfa".encode(), b"From: a@b.example", b"\r\n"),
            "From after bare CRs": filled(b"\rFrom: a@b.example", b"Subject: ", b"\r\n"),
            "folded From after bare LFs": filled(b"\nFrom: a\n a", b"Subject: ", b"\r\n"),
            "white space between everything": filled(b" \r\n <", b"From: a@b.example", b"\r\n"),
        },
    ),
    *rows(
        "fields of authors",
        Where.CHECKS,
        from_header.MAX_TEXT,
        lambda value: from_header.read([value]),
        {
            "spaces": text(" ", "a", "b"),
            "spaces after a sign": text(" ", "a@", "b"),
            "folded spaces": text("\r\n "),
            "spaces of other scripts": text("\N{NO-BREAK SPACE}"),
            "NULs and spaces": text(" \0"),
            "a long encoded word": text("_", "=?x?q?", "?="),
            "beginnings of addresses": text("<x "),
            "open comments": text("("),
            "quotes": text('"'),
            "brackets": text("<"),
            "signs": text("@"),
            "addresses": text("a@b.c,"),
            "beginnings of encoded words": text("=?a?q?"),
            "encoded words": text("=?a?q?=40?="),
            "a hundred long domains": lambda size: ("a@" + U * 300) * (size // 310),
            "a hundred labels": lambda size: ("a@" + f"{U}." * 125) * (size // 256),
            "comments without an end": lambda size: ("a@" + "(" * 300) * (size // 310),
            "combining marks": text("\N{COMBINING ACUTE ACCENT}\N{COMBINING CEDILLA}", "a"),
            "combining marks in domains": lambda size: ("a@a" + MARKS * 60) * (size // 250),
            "ligatures": text("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"),
            "all letters": lambda size: "".join(map(chr, range(0xF900, 0xF900 + size % 0x6FF))) * (size // 0x6FF),
            "invisible letters": text("\u200b", "a@b.example"),
            "atoms and white space": text("a\r\n <", "a@b.example"),
        },
    ),
    *rows(
        "list of mailboxes",
        Where.CHECKS,
        from_header.MAX_FIELD,
        lambda value: from_header.read([value]),
        {
            "atoms and white space": text("a ", "", "<a@b.example>"),
            "atoms": text("a a(a)", "", "<"),
            "mailboxes": text("a@b.example,"),
            "quoted strings": text('"a" ', "", "@"),
            "comments": text("(a)", "", "a"),
            "line ends": text("\r\n ", "a", "b"),
        },
    ),
    *rows(
        "DKIM signatures",
        Where.CHECKS,
        LONG,
        _signatures,
        {
            "by the thousand": filled(_signed(b"h=from"), b"From: a@client.example\r\n"),
            "five among a thousand fields": lambda size: (
                _signed(b"h=" + b":".join([b"a"] * 190 + [b"from"])) * 5
                + b"From: a@client.example\r\n"
                + (b"a: " + b" b" * max(1, size // 2_300) + b"\r\n") * min(990, size // 120)
            ),
            "of long spaces in fields": lambda size: (
                _signed(b"h=from:a:a:a:a:a:a:a:a") * 5
                + b"From: a@client.example\r\n"
                + (b"a: " + b" " * (size // 20) + b"b\r\n") * 8
            ),
            "of folded spaces in a field": lambda size: (
                _signed(b"h=from:a") * 5 + b"From: a@client.example\r\n" + b"a: " + b"\r\n\t" * (size // 4) + b"b\r\n"
            ),
            "of empty tags": lambda size: b"DKIM-Signature: v=1" + b";a=b" * (min(size, 8_000) // 4) + b"\r\n",
            "of spaces": lambda size: (b"DKIM-Signature: " + (b" " * 90 + b";") * 80 + b"\r\n") * (size // 8_000),
            "of long signatures": filled(b"A ", b"DKIM-Signature: v=1; a=rsa-sha256; b=", b"\r\n"),
        }
        | field(b"DKIM-Signature"),
    ),
    *rows(
        "SPF record",
        Where.CHECKS,
        ANSWER,
        _spf,
        {
            "mechanisms": filled(b" ip4:192.0.2.9", b"v=spf1"),
            "spaces": filled(b" ", b"v=spf1", b"-all"),
            "macros": lambda size: b"v=spf1 exists:" + b"%{s9999r.-+}" * 50 + b" " * (min(size, 4_096) - 620),
            "slashes": filled(b"/1", b"v=spf1 a:b"),
            "includes": filled(b" include:%{d}", b"v=spf1"),
        },
    ),
    *rows(
        "SPF record of the maximum length",
        Where.CHECKS,
        spf_check.RECORD_LIMIT,
        _spf,
        {
            "mechanisms": filled(b" ip4:192.0.2.9", b"v=spf1"),
            "macros": filled(b"a" * 70 + b"%{s}", b"v=spf1 exists:"),
            "macros of labels": filled(b"a" * 70 + b"%{s9r.-+}", b"v=spf1 exists:"),
            "modifiers": filled(b" a=b", b"v=spf1"),
            "letters": filled(b"a", b"v=spf1 "),
            "colons": filled(b":", b"v=spf1 a"),
        },
    ),
    *rows(
        "DKIM key",
        Where.CHECKS,
        ANSWER,
        _key_of,
        {
            "tags": filled(b"a=b;"),
            "spaces": filled(b" ", b"v=DKIM1; p="),
            "a long key": filled(b"AAAA", b"v=DKIM1; p="),
            "spaces and colons": filled(b" :", b"v=DKIM1; h=", b"; p=AAAA"),
        },
    ),
    *rows(
        "DMARC record",
        Where.CHECKS,
        ANSWER,
        lambda record: verdicts.parse_record("a.example", [record]),
        {
            "tags": text("a=b;", "v=DMARC1;"),
            "spaces": text(" ", "v", "=DMARC1"),
            "spaces in tags": text(" ", "v=DMARC1;p", "=none"),
            "URIs": text("mailto:a,", "v=DMARC1;rua="),
            "a long URI": text("a", "v=DMARC1;rua="),
        },
    ),
    *rows(
        "body to hash",
        Where.CHECKS,
        BODY,
        _hash,
        {
            "spaces": filled(b" "),
            "spaces before line ends": filled(b" \r\n"),
            "empty lines": filled(b"\r\n"),
            "bare CRs": filled(b"\r"),
            "text": lambda size: random.Random(1).randbytes(size),
        },
    ),
]
