"""The address fields of a header, as the text index has them."""

from waypost.domain.mail import address_fields


def test_the_address_fields_of_a_header_are_decoded_and_unfolded():
    header = (
        b"X-From: no\r\nFrom: =?utf-8?q?J=C3=BCrgen?=\r\n <j@example.org>\r\nTO : a@b.c\r\n"
        b"Cc: d@e.f\r\nSubject: To: x\r\n"
    )
    assert address_fields.read(header) == ("Jürgen <j@example.org>", "a@b.c d@e.f")
    assert address_fields.read(b"") == ("", "")


def test_only_some_fields_and_their_beginnings_are_read():
    authors, recipients = address_fields.read(b"To: " + b"x" * 10_000 + b"\r\n" + b"From: a\r\n" * 100)
    assert len(recipients) == address_fields.FIELD_LIMIT - 1
    assert authors == " ".join("a" * 9)
