"""The parsers in the process that reads messages for people."""

from tests.work.rows import Where, filled, rows, text
from waypost.mime import fields, html_text, nesting, reading, safe_html, style

MIB = 1024 * 1024
MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def _header(octets: bytes) -> object:
    return fields.read(octets, 0, octets=len(octets), lines=len(octets), is_delimiter=lambda _: False)


def _safe(html: str) -> object:
    return safe_html.sanitised(html, parts_by_cid={}, allow_remote=False)


TAGS = {
    "beginnings of tags": text("<"),
    "beginnings of elements": text("<a "),
    "beginnings of elements without a space": text("<p"),
    "beginnings of comments": text("<!--"),
    "beginnings of values": text("<a b='"),
    "elements": text("<b>x</b>"),
    "blocks": text("<div>x</div>"),
    "nested blocks": text("<div>"),
    "end tags": text("</div>"),
    "spaces": text(" "),
    "spaces in a tag": text(" ", "<a", ">"),
    "attributes": text("a=1 ", "<a ", ">"),
    "entities": text("&amp;"),
    "beginnings of entities": text("&a"),
    "scripts": text("<script>x</script>"),
    "beginnings of scripts": text("<script>"),
    "cells": text("<td>", "<table><tr>"),
    "links": text("<a href='https://a.example/'>https://b.example/</a>"),
    "styles": text("<p style='color: red'>x"),
}

ROWS = [
    *rows(
        "messages for people",
        Where.READING,
        16 * MIB,
        reading.read,
        {
            "header lines": filled(b"a: b\r\n"),
            "folded lines": filled(b" b\r\n", b"a:"),
            "parts": filled(b"--b\r\n\r\nx\r\n", MULTIPART),
            "delimiters": filled(b"--b\r\n", MULTIPART),
            "lines like delimiters": filled(b"--c\r\n", MULTIPART),
            "hyphens": filled(b"-", MULTIPART),
            "parts inside of parts": filled(b"--b\r\n" + MULTIPART, MULTIPART),
            "embedded messages": filled(b"Content-Type: message/rfc822\r\n\r\n"),
            "headers of parts": filled(b"--b\r\n" + b"a: b\r\n" * 300 + b"\r\n", MULTIPART),
            "text": filled(b"x\r\n", b"\r\n"),
            "text in one line": filled(b"x", b"\r\n"),
            "quoted-printable": filled(b"=3D", b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"),
            "base64": filled(b"eA==", b"Content-Transfer-Encoding: base64\r\n\r\n"),
            "broken base64": filled(b"e!", b"Content-Transfer-Encoding: base64\r\n\r\n"),
        },
    ),
    *rows(
        "parameters of a part",
        Where.READING,
        64 * 1024,
        lambda octets: _header(octets)[0].filename,
        {
            "parameters": filled(b"; a=b", b"Content-Type: a/b"),
            "semicolons": filled(b";", b"Content-Type: a/b"),
            "spaces": filled(b" ", b"Content-Type: a/b;", b"x"),
            "open quotes": filled(b'; a="\\', b"Content-Type: a/b"),
            "backslashes": filled(b"\\", b'Content-Type: a/b; name="'),
            "pieces of a name": lambda size: (
                b"Content-Type: a/b" + b"".join(b"; name*%d*=%%41" % number for number in range(size // 16))
            ),
            "a name of slashes": filled(b"/", b"Content-Type: a/b; name=a", b"b"),
            "a name of dots": filled(b". ", b"Content-Type: a/b; name=", b"b"),
        },
    ),
    *rows("text of HTML", Where.READING, MIB, html_text.text_of, TAGS),
    *rows("depth of HTML", Where.READING, MIB, nesting.cut, TAGS),
    # nh3 takes quadratic time for entities, so `nesting.REFERENCES` bounds them, and the hostile messages have them.
    *rows(
        "safe HTML", Where.READING, MIB, _safe, {name: each for name, each in TAGS.items() if "entities" not in name}
    ),
    *rows(
        "styles of HTML",
        Where.READING,
        MIB,
        lambda css: (style.filtered(css), style.remote_references(css)),
        {
            "declarations": text("color: red;"),
            "a value": text("a ", "color: "),
            "colours": text("rgb(1)", "color: ", "("),
            "URLs": text("url( ", "color: "),
        },
    ),
]
