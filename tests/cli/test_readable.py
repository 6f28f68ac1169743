"""The readable text of a message, which `waypost show --text` prints."""

import pytest

from waypost.cli import readable

PLAIN = b"Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s"
TWO = b"""Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/html; charset=utf-8

<p>marked</p>
--b
Content-Type: text/plain

plain
--b--
"""

HTML = b"""Content-Type: text/html

<html><head><title>t</title><style>p {}</style></head><body><h1>Hello</h1><p>two
  words &amp; <b>more</b><br>next<script>x()</script></p><p></p><p>end</body></html>
"""

TEXTS = {
    "no header at all": (b"\r\nHello.\r\nAnn\r\n", "Hello.\nAnn\n"),
    "quoted-printable": (
        PLAIN % (b"iso-8859-1", b"quoted-printable", b"Gr=FC=DFe=\r\n an alle\r\n"),
        "Grüße an alle\n",
    ),
    "base64": (PLAIN % (b"utf-8", b"base64", b"R3LDvMOfZQ0K"), "Grüße\n"),
    "8bit": (PLAIN % (b"utf-8", b"8bit", "Grüße\r\n".encode()), "Grüße\n"),
    "undeclared UTF-8": ("\r\nGrüße\r\n".encode(), "Grüße\n"),
    "UTF-8 that is labelled as ASCII": (PLAIN % (b"us-ascii", b"8bit", "Grüße\r\n".encode()), "Grüße\n"),
    "GBK that is labelled as gb2312": (PLAIN % (b"gb2312", b"8bit", "镕".encode("gbk")), "镕"),
    "windows-1252 that is labelled as Latin 1": (PLAIN % (b"iso-8859-1", b"8bit", b"\x80 5"), "€ 5"),
    "an unknown charset": (PLAIN % (b"no-such", b"8bit", b"a\xff"), "a\N{REPLACEMENT CHARACTER}"),
    "bytes that are not valid UTF-8": (PLAIN % (b"utf-8", b"8bit", b"a\xffb"), "a\N{REPLACEMENT CHARACTER}b"),
    "an escape sequence for the terminal": (b"\r\na\x1b[2Jb\tc\r\n", "a\N{REPLACEMENT CHARACTER}[2Jb\tc\n"),
    "plain text before HTML": (TWO, "plain"),
    "HTML": (
        HTML,
        "Hello\n\ntwo words & more\nnext\n\nend\n",
    ),
}

WITHOUT = {
    "an attachment": b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx\r\n",
    "a picture": b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n",
    "deeply nested parts": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5_000)
    ),
}


@pytest.mark.parametrize(("message", "text"), TEXTS.values(), ids=TEXTS)
def test_the_text_of_a_message_is_decoded(message, text):
    assert readable.text_of(message) == text


@pytest.mark.parametrize("message", WITHOUT.values(), ids=WITHOUT)
def test_the_media_types_of_a_message_without_text_are_listed(message):
    assert readable.text_of(message) is None
    assert readable.kinds_of(message)
