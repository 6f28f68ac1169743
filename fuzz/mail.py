"""Fuzzes the reader of messages, and the filter that makes their HTML safe.

The first byte of an input selects the reader (even) or the filter (odd), and whether remote pictures are allowed.
"""

import contextlib
import json
import random
import re
from collections.abc import Iterator

from engine import fuzz, instrumented

with instrumented():
    from tests.kit import hostile_mail, mail_invariants
    from waypost.mime import reading, safe_html, wire
    from waypost.mime.message import MimeMessage, NoSuchPart

SEED_LIMIT = 1_100
"""The maximum length of a seed, in bytes."""

URLS = {"a": "/parts/2", "self@x": "/parts/3"}

WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: multipart/alternative; boundary=b\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/html; charset=utf-8\r\n",
    b"Content-Type: text/plain; charset=",
    b"Content-Type: image/png\r\n",
    b"Content-ID: <a>\r\n",
    b"Content-Disposition: attachment; filename",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"*0*=utf-8''",
    b"; filename*1*=%E2%80",
    b"utf-7",
    b"utf-16",
    b"iso-2022-jp",
    b"\x1b$B",
    b"=?utf-8?q?",
    b"?=",
    b"=\r\n",
    b"\xe2\x80\xae",
    b"<a href='https://",
    b"<a href=mailto:",
    b"</a>",
    b"<img src='",
    b"<img src=cid:a>",
    b"<img src=data:image/png;base64,",
    b"<p style='color:",
    b"<table><tr><td>",
    b"<svg>",
    b"<math><mtext>",
    b"<style>",
    b"</style>",
    b"<noscript>",
    b"<template>",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"&lt;",
    b"&#x",
    b"&quot;",
    b"javascript:",
    b"url(//",
    b" onerror=",
]

PIECE = re.compile(rb"[^\n<]*\n|[^\n<]*(?=<)|<[^<\n]*|[^\n<]+\Z")


def check(octets: bytes) -> None:
    """Check one input. libFuzzer calls this function."""
    choice, rest = (octets[0], octets[1:]) if octets else (0, b"")
    if choice % 2:
        check_html(rest.decode("utf-8", "surrogateescape"), allow_remote=choice % 4 == 3)
    else:
        check_message(rest)


def check_message(raw: bytes) -> None:
    """Check a message, each of its parts, and the HTML that is shown."""
    message = reading.read(raw)
    mail_invariants.check_message(message)
    assert reading.read(bytearray(raw)) == message
    assert wire.message_from_json(json.loads(json.dumps(wire.message_to_json(message)))) == message
    assert [part.number for part in message.parts] == list(range(1, len(message.parts) + 1))
    for part in message.parts:
        content = reading.part(raw, part.number)
        assert len(content.octets) == part.size
        assert (content.content_type, content.filename) == (part.content_type, part.filename)
    for number in (0, len(message.parts) + 1):
        with contextlib.suppress(NoSuchPart):
            raise AssertionError(reading.part(raw, number))
    for content_id, number in reading.parts_by_content_id(raw).items():
        picture = message.parts[number - 1]
        assert picture.content_id == content_id
        assert picture.content_type.startswith("image/")
    if b"\r" not in raw.replace(b"\r\n", b""):
        check_line_ends(raw, message)
    if message.html_part is not None:
        html, _ = reading.html_of(reading.part(raw, message.html_part))
        check_html(html, allow_remote=False)


def check_line_ends(raw: bytes, message: MimeMessage) -> None:
    """Check that a message with LF line ends has the same parts."""
    same = reading.read(raw.replace(b"\r\n", b"\n"))
    assert [(part.depth, part.content_type, part.filename) for part in same.parts] == [
        (part.depth, part.content_type, part.filename) for part in message.parts
    ]
    assert same.html_part == message.html_part


def check_html(html: str, *, allow_remote: bool) -> None:
    """Check that HTML becomes harmless, that its links are described, and that it stays harmless."""
    safe = safe_html.sanitised(html, parts_by_cid=URLS, allow_remote=allow_remote)
    mail_invariants.check_html(safe.html, allow_remote=allow_remote)
    assert len(safe.links) == safe.html.count("<a href=")
    assert wire.html_from_json(json.loads(json.dumps(wire.html_to_json(safe)))) == safe
    again = safe_html.sanitised(safe.html, parts_by_cid={}, allow_remote=allow_remote)
    mail_invariants.check_html(again.html, allow_remote=allow_remote)
    assert allow_remote or not again.remote


def mutate(chance: random.Random, octets: bytes) -> bytes:
    """Move, repeat, remove or insert lines, tags and words."""
    pieces = PIECE.findall(octets[1:])
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(pieces))
        if not pieces or chance.random() < 0.4:
            pieces.insert(at, chance.choice(WORDS))
        elif chance.random() < 0.5:
            start = chance.randrange(len(pieces))
            pieces[at:at] = pieces[start : start + chance.randint(1, 4)]
        else:
            del pieces[at : at + chance.randint(1, 2)]
    return octets[:1] + b"".join(pieces)


def seeds() -> Iterator[bytes]:
    """Yield the hostile messages that are short, and their HTML."""
    for name, make in hostile_mail.MESSAGES.items():
        if not name.startswith("HTML: ") and not re.search(r"\d,\d{3}| MB", name) and len(raw := make()) <= SEED_LIMIT:
            yield b"\0" + raw
    for html in hostile_mail.HTML.values():
        if len(octets := html.encode("utf-8", "surrogatepass")) <= SEED_LIMIT:
            yield b"\1" + octets


if __name__ == "__main__":
    fuzz(check, name="mail", seeds=seeds(), words=WORDS, mutate=mutate)
