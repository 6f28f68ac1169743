"""What is read from a message."""

from email.message import EmailMessage

import pytest

from tickets import messages


def read(*, headers=(), text="My lamp is dark.\n", html="", files=()):
    message = EmailMessage()
    for name, value in {"From": "Ann <Ann@Home.example>", "Subject": "A lamp", **dict(headers)}.items():
        message[name] = value
    if text:
        message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    for name in files:
        message.add_attachment(b"\x00\xff", maintype="image", subtype="png", filename=name)
    return messages.read(bytes(message))


def test_a_plain_message():
    assert read() == messages.Received(
        customer="ann@home.example",
        subject="A lamp",
        text="My lamp is dark.",
        files=(),
        ticket=None,
        is_automatic=False,
    )


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("A lamp", ("A lamp", None)),
        ("Re: [T-17] A lamp", ("Re:  A lamp", 17)),
        ("[T-] A lamp", ("[T-] A lamp", None)),
        ("[T-1234567890]", ("[T-1234567890]", None)),
        ("", ("(no subject)", None)),
        ("Grüße", ("Grüße", None)),
    ],
)
def test_the_subject_and_the_ticket(subject, expected):
    received = read(headers={"Subject": subject})
    assert (received.subject, received.ticket) == expected


def test_html_alone_becomes_text():
    assert read(text="", html="<p>My <b>lamp</b></p>\n<p>is dark.</p>").text == "My lamp is dark."


def test_plain_text_is_preferred():
    assert read(html="<p>in HTML</p>").text == "My lamp is dark."


def test_files_are_kept():
    names = ["lamp.png", "größer.png", "lamp.png"]
    assert read(files=names).files == tuple((name, b"\x00\xff") for name in names)


def test_an_attached_message_is_kept():
    forwarded, message = EmailMessage(), EmailMessage()
    forwarded["Subject"] = "From a customer"
    forwarded.set_content("It is dark.\n")
    message.set_content("See below.\n")
    message.add_attachment(forwarded, filename="forwarded.eml")
    assert messages.read(bytes(message)).files == (("forwarded.eml", bytes(forwarded)),)


def test_a_charset_that_does_not_exist():
    raw = b"Content-Type: text/plain; charset=x-none\r\n\r\nMy lamp is d\xfcster.\r\n"
    assert messages.read(raw).text == "My lamp is d\ufffdster."


@pytest.mark.parametrize("value", ["auto-replied", "Auto-Generated"])
def test_a_program_has_sent_it(value):
    assert read(headers={"Auto-Submitted": value}).is_automatic


def test_a_person_has_sent_it():
    assert not read(headers={"Auto-Submitted": "no"}).is_automatic


def test_an_empty_message():
    assert messages.read(b"") == messages.Received("", "(no subject)", "", (), None, False)
