"""Messages are read: their headers, parts, names and text."""

import base64
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.hostile_mail import MESSAGES, message, multipart, nested, part
from waypost.mime import reading
from waypost.mime.message import NoSuchPart
from waypost.mime.reading import Limits

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u202d\u202e\ufeff") | st.just("\n"))
MAIL = st.recursive(
    st.binary(max_size=50).map(lambda octets: part(octets, "text/plain; charset=utf-8")),
    lambda parts: st.builds(
        lambda parts, boundary, kind, end: multipart(*parts, boundary=boundary, kind=kind, end=end, head=b""),
        st.lists(parts, max_size=4),
        st.sampled_from(["b", "bb", "-", "x y"]),
        st.sampled_from(["mixed", "alternative", "related"]),
        st.booleans(),
    ),
    max_leaves=20,
)
"""Messages of several parts, with boundaries that are often the same or alike."""


def problems(raw, **limits):
    return reading.read(raw, Limits(**limits)).problems


@given(TEXTS)
def test_the_text_of_a_simple_message_is_what_was_put_in(text):
    mail = EmailMessage(policy=email.policy.SMTP)
    mail.set_content(text)
    assert reading.read(mail.as_bytes()).text.rstrip("\n") == text.rstrip("\n")


@given(TEXTS.map(lambda text: text.replace("\n", "")), st.lists(st.binary(max_size=99), max_size=5), st.booleans())
def test_parts_are_the_same_as_those_of_the_standard_library(text, attachments, has_html):
    mail = EmailMessage(policy=email.policy.SMTP)
    mail.set_content(text)
    if has_html:
        mail.add_alternative("<p>x</p>", subtype="html")
    for octets in attachments:
        mail.add_attachment(octets, maintype="application", subtype="x", filename="é.bin", cid="<a@b>")
    raw = mail.as_bytes()
    found = reading.read(raw)
    theirs = list(email.message_from_bytes(raw, policy=email.policy.SMTP).walk())
    assert [each.content_type for each in found.parts] == [each.get_content_type() for each in theirs]
    for ours, each in zip(found.parts, theirs, strict=True):
        assert ours.filename == each.get_filename()
        if not each.is_multipart():
            assert reading.part(raw, ours.number).octets == each.get_payload(decode=True)
    assert not found.problems


@given(st.binary() | MAIL | MAIL.map(lambda raw: raw.replace(b"\r\n", b"\n")))
def test_any_bytes_are_read(raw):
    found = reading.read(raw)
    assert [each.number for each in found.parts] == list(range(1, len(found.parts) + 1))
    for each in found.parts:
        assert len(reading.part(raw, each.number).octets) == each.size
    assert reading.read(bytearray(raw)) == found


@given(MAIL, st.integers(1, 5), st.integers(0, 3), st.integers(0, 10))
def test_limits_are_kept(raw, parts, depth, delimiters):
    found = reading.read(raw, Limits(parts=parts, depth=depth, delimiters=delimiters, text=10))
    assert len(found.parts) <= parts
    assert all(each.depth <= depth for each in found.parts)
    assert len(found.text) <= 10 + parts


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

DECODED = {
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
    "an unknown charset": (PLAIN % (b"no-such", b"8bit", b"a\xff"), "aÿ"),
    "bytes that are not valid UTF-8": (PLAIN % (b"utf-8", b"8bit", b"a\xffb"), "a\N{REPLACEMENT CHARACTER}b"),
    "an escape sequence for the terminal": (b"\r\na\x1b[2Jb\tc\r\n", "a\N{REPLACEMENT CHARACTER}[2Jb\tc\n"),
    "plain text before HTML": (TWO, "plain"),
    "HTML": (
        HTML,
        "Hello\n\ntwo words & more\nnext\n\nend",
    ),
}


@pytest.mark.parametrize(("raw", "text"), DECODED.values(), ids=DECODED)
def test_the_text_of_a_message_is_decoded(raw, text):
    assert reading.read(raw).text == text


def test_headers_are_decoded_in_order():
    raw = b"Subject: =?utf-8?q?caf=C3=A9?=\r\n =?utf-8?q?_x?=\r\nX: a\r\n b\r\nX: \xe9\r\nsubject:y\r\n\r\n"
    assert reading.read(raw).headers == (("Subject", "café x"), ("X", "a b"), ("X", "é"), ("subject", "y"))


@pytest.mark.parametrize(
    ("field", "filename"),
    [
        ('="a b.txt"', "a b.txt"),
        ("=a.txt", "a.txt"),
        ("=a b.txt", "a b.txt"),
        ('="a\\"b.txt"', "a_b.txt"),
        ("*=utf-8'en'caf%C3%A9.txt", "café.txt"),
        ("*=iso-8859-1''caf%E9.txt", "café.txt"),
        ("*=x-unknown''caf%C3%A9.txt", "café.txt"),
        ("*=no-charset.txt", "no-charset.txt"),
        ("*0*=utf-8''caf; filename*1*=%C3%A9; filename*2=.txt", "café.txt"),
        ('*0="a b"; filename*1=".txt"', "a b.txt"),
        ('="=?utf-8?q?caf=C3=A9.txt?="', "café.txt"),
        ('="../../etc/passwd"', "passwd"),
        ('="..\\\\..\\\\x.exe"', "x.exe"),
        ('="folder/"', "folder"),
        ('=".profile"', "profile"),
        ('="...."', None),
        ('=""', None),
        ("*=utf-8''invoice%E2%80%AEfdp.exe", "invoicefdp.exe"),
        ("*=utf-8''a%00b%0D%0Ac", "a b c"),
        ('="con:stream"', "con_stream"),
        ("=" + "x" * 500 + ".txt", "x" * 146 + ".txt"),
        ("*=utf-8''" + "%E2%82%AC" * 300 + ".txt", "€" * 78 + ".txt"),
        ("=" + "x" * 500, "x" * 150),
        ("=a." + "x" * 500, "a." + "x" * 148),
    ],
)
def test_file_names_are_decoded_and_made_safe(field, filename):
    raw = message(b"x", "application/x", f"Content-Disposition: attachment; filename{field}")
    assert reading.read(raw).parts[0].filename == filename


def test_a_file_name_is_also_read_from_the_content_type():
    assert reading.read(message(b"x", "application/x; name=a.txt")).parts[0].filename == "a.txt"


def test_the_text_comes_from_plain_text_or_else_from_html():
    plain, html = part(b"plain", "text/plain"), part(b"<p>html</p>", "text/html")
    assert reading.read(multipart(plain, html, kind="alternative")).text == "plain"
    assert reading.read(multipart(html, plain, kind="alternative")).text == "plain"
    assert reading.read(multipart(html, kind="alternative")).text == "html"
    assert reading.read(multipart(part(b" ", "text/plain"), html, kind="alternative")).text == "html"
    assert reading.read(multipart(kind="alternative")).text == ""
    assert reading.read(multipart(plain, plain)).text == "plain\nplain"
    assert reading.read(message(b"<b>x</b>", "text/html")).text == "x"
    assert reading.read(message(b"x", "image/png")).text == ""


def test_attachments_are_no_text():
    attached = [
        part(b"a", "text/plain", "Content-Disposition: attachment"),
        part(b"b", "text/html; name=x.html"),
        part(b"Subject: c\r\n\r\nc", "message/rfc822"),
        part(b"d", "application/pdf"),
    ]
    found = reading.read(
        multipart(part(b"text", "text/plain"), *attached, multipart(*attached, kind="alternative", head=b""))
    )
    assert found.text == "text"
    assert found.html_part is None
    assert [each.is_attachment for each in found.parts[:7]] == [False, False, True, True, True, False, True]


def test_an_inline_picture_is_no_attachment():
    found = reading.read(multipart(part(b"x", "image/png", "Content-ID: <a@b>"), part(b"x", "image/png")))
    assert [each.is_attachment for each in found.parts] == [False, False, True]
    assert found.parts[1].content_id == "a@b"


def test_the_html_part_is_the_first_that_is_shown():
    html = part(b"<p>x</p>", "text/html")
    forwarded = part(multipart(html), "message/rfc822")
    assert reading.read(multipart(forwarded, part(b"x", "text/plain"), html)).html_part == 6


def test_pictures_are_found_by_their_content_id():
    pictures = [
        part(b"x", "image/png", "Content-ID: <a>"),
        part(b"y", "image/gif", "Content-ID: <a>"),
        part(b"<svg>", "image/svg+xml", "Content-ID: <b>"),
        part(b"z", "text/html", "Content-ID: <c>"),
    ]
    assert reading.parts_by_content_id(multipart(*pictures)) == {"a": 2}


def test_a_part_that_does_not_exist_is_reported():
    for number in (0, 2, -1):
        with pytest.raises(NoSuchPart):
            reading.part(b"x", number)


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("utf-8", "é".encode(), "é"),
        ("us-ascii", b"\xe9", "é"),
        ("iso-8859-1", b"\x80", "€"),
        ("'utf-8'", "é".encode(), "é"),
        ("iso-2022-jp", b'\x1b$B$"\x1b(B', "あ"),
        ("utf-7", b"+AOk-", "é"),
        ("''", "é".encode(), "é"),
    ],
)
def test_charsets_are_decoded(charset, octets, text):
    found = reading.read(message(octets, f"text/plain; charset={charset}"))
    assert (found.text, found.problems) == (text, ())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("an unknown charset", "The message has a charset that is unknown."),
        ("an unknown transfer encoding", "The message has an unknown transfer encoding, so it is not decoded."),
        ("base64 of one digit", "The message is not valid base64."),
        ("a multipart without end", "The message is a multipart that has no end."),
        ("a multipart without parts", "The message is a multipart that has no parts."),
        ("a multipart without boundary", "The message is a multipart without a boundary, so it is shown as one part."),
        ("a type without a subtype", "The message has a malformed Content-Type, so it is shown as text."),
        ("2,000 parts", "The message has more than 500 parts. At least 1,501 more are not shown."),
        ("1,000 levels", "Part 51 is more than 50 levels deep, so it is shown as one part."),
        ("10 MB in one line", "The text is larger than 1,048,576 bytes, so its end is not shown."),
        ("a header that ends with a text", "The message has a header that ends without an empty line."),
        (
            "a subject with a directional override",
            "Characters that override the direction of text were removed from Subject.",
        ),
        ("a field of 10 MB", "The message has a header that is too long, so its last fields are not shown."),
    ],
)
def test_problems_are_told(name, problem):
    assert problem in reading.read(MESSAGES[name]()).problems


def test_a_message_with_many_lines_that_begin_with_hyphens_has_a_problem():
    raw = message(b"--b!\r\n" * 4, "multipart/mixed; boundary=b")
    problem = "The message has more than 3 lines that begin with two hyphens, so its last parts were not separated."
    assert problem in problems(raw, delimiters=3)
    assert problem not in problems(raw, delimiters=4)


def test_a_message_with_a_long_header_has_a_problem():
    raw = b"X: y\r\n" * 4 + b"\r\n"
    problem = "The message has a header that is too long, so its last fields are not shown."
    assert problem in problems(raw, header_lines=3)
    assert problem not in problems(raw)


def test_broken_messages_show_what_can_be_shown():
    assert reading.read(MESSAGES["a multipart without end"]()).text == "the text\n"
    assert "no delimiter here" in reading.read(MESSAGES["a multipart without parts"]()).text
    assert reading.read(MESSAGES["a multipart whose boundary is in its header"]()).text == "the text"
    assert reading.read(MESSAGES["an mbox file"]()).headers == (("Subject", "x"),)
    assert reading.read(MESSAGES["no header"]()).text == "just a text\nin two lines\n"
    assert reading.read(MESSAGES["base64 that is broken"]()).text.startswith("hello world")
    assert "the innermost text" not in reading.read(nested(60)).text
    assert reading.read(nested(49)).text == "the innermost text"


def test_a_part_with_a_long_header_is_read_until_the_next_delimiter():
    long = part(b"the text", "text/plain", *["X: y"] * 300)
    found = reading.read(multipart(long, part(b"more", "text/plain")))
    assert found.text == "the text\nmore"
    endless = b"X: y\r\n" * 300
    assert reading.read(multipart(endless, part(b"more", "text/plain"))).text.endswith("more")


def test_only_fifty_problems_are_listed():
    found = problems(multipart(*[part(b"x", "text/plain; charset=x-unknown")] * 100))
    assert len(found) == 51
    assert found[-1] == "There are 50 more problems."


def test_html_is_decoded_under_a_limit():
    content = reading.part(message("<p>é</p>".encode(), "text/html; charset=utf-8"), 1)
    assert reading.html_of(content) == ("<p>é</p>", ())
    assert reading.html_of(content, Limits(text=3)) == (
        "<p>",
        ("The HTML is larger than 3 bytes, so its end is not shown.",),
    )


def test_headers_in_other_encodings_are_read():
    found = reading.read(message(b"x", "application/x; name=\udce9.txt"))
    assert found.parts[0].filename == "é.txt"


def test_a_header_that_is_exactly_as_long_as_its_limit_is_whole():
    raw = b"Subject: x\r\n"
    assert problems(raw, header_lines=1) == ()
    assert problems(raw + b"\r\n", header_lines=1) != ()


def test_a_multipart_is_read_again_where_its_parts_are_read():
    raw = multipart(part(b"x", "text/plain", "Content-Transfer-Encoding: base64"))
    assert b"--b\r\n" in reading.part(raw, 1).octets


def test_a_long_text_in_base64_is_cut_without_another_problem():
    raw = message(base64.encodebytes(b"x" * 1_000), "text/plain", "Content-Transfer-Encoding: base64")
    found = reading.read(raw, Limits(text=10))
    assert (found.text, found.problems) == ("x" * 10, ("The text is larger than 10 bytes, so its end is not shown.",))


@pytest.mark.parametrize("encoded", [b"aGk", b"a G\r\nk=", b"aGk=!", b"!aGk"])
def test_base64_is_decoded_although_it_is_broken(encoded):
    raw = message(encoded, "text/plain", "Content-Transfer-Encoding: base64")
    assert reading.part(raw, 1).octets == b"hi"


def test_quoted_printable_is_decoded():
    raw = message(b"caf=E9=\r\n=ZZ", "text/plain; charset=latin1", "Content-Transfer-Encoding: Quoted-Printable")
    assert reading.read(raw).text == "café=ZZ"


def test_a_delimiter_ends_a_header():
    raw = multipart(b"Content-Type: text/html\r\n--b\r\n\r\nthe text")
    assert [each.content_type for each in reading.read(raw).parts[1:]] == ["text/html", "text/plain"]


def test_a_long_line_of_hyphens_is_no_delimiter():
    raw = multipart(part(b"--" + b"-" * 1_000 + b"\r\nx", "text/plain"))
    assert len(reading.read(raw).parts) == 2
