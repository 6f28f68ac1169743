"""Sample notices, the messages that they are about, and functions that parse notices."""

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta

from waypost.domain.directory import addresses
from waypost.domain.dsn import notices
from waypost.domain.dsn.notices import Action, Fate
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import AttemptResult, Delivery, Protocol, Reason, Stage, Status
from waypost.domain.mail.messages import Dsn, Envelope, Message, RecipientDsn

NOW = datetime(2026, 11, 22, 23, 14, 5, tzinfo=UTC)
ID = "01a20589-c8ee-7005-8000-000000000001"
NOTICE_ID = "01a20589-c8ee-7006-8000-000000000002"
HEADER = b"From: Ann <ann@example.org>\r\nTo: support@example.com\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n"
ORIGINAL = HEADER + b"\r\nHow are you?\r\n"
BOB = "Bob.Smith@private.example.net"
FULL = Dsn(ret="FULL")


def a_delivery(address=BOB, *, alias="support@example.com"):
    return Delivery(
        message_id=ID,
        email_address_id="an id",
        account="0",
        address=addresses.parse(address),
        reason=Reason.FORWARDED if alias else Reason.DIRECT,
        sent_to=alias or address,
        via=alias,
        status=Status.QUEUED,
        trace_header=f"Delivered-To: {address}\r\n".encode(),
    )


DIRECT = a_delivery("support@example.com", alias=None)


def a_message(original=ORIGINAL, *, subject="Hello", header_id="1@example.org", size=None, **envelope):
    values = {
        "sender": "ann@example.org",
        "recipients": ("support@example.com",),
        "helo": "client.example.org",
        "peer": "192.0.2.1",
        "protocol": "ESMTP",
    }
    return Message(
        id=ID,
        envelope=Envelope(**values | envelope),
        received_at=NOW - timedelta(hours=1),
        size=len(original) if size is None else size,
        subject=subject,
        header_id=header_id,
    )


def a_result(text="User unknown", **changes):
    values = {
        "protocol": Protocol.SMTP,
        "stage": Stage.RCPT,
        "peer": "mx1.example.com [192.0.2.1]:25",
        "code": 550,
        "enhanced": "5.1.1",
        "text": text,
    }
    return AttemptResult(**values | changes)


FAILED = Fate(action=Action.FAILED, status="5.1.1", result=a_result(), attempted_at=NOW)


def failed(text="User unknown", **changes):
    return Fate(action=Action.FAILED, status="5.1.1", result=a_result(text, **changes), attempted_at=NOW)


def a_notice(delivery=DIRECT, fate=FAILED, *, message=None, original=ORIGINAL, wishes=messages.NO_RECIPIENT_DSN):
    forwarded = delivery.reason is not Reason.DIRECT
    outcome = notices.RecipientOutcome(
        recipient=delivery.sent_to, fate=fate, is_forwarded=forwarded, wishes=wishes
    )  # fmt: skip
    return a_notice_about([outcome], message=message, original=original)


def a_notice_about(outcomes, *, message=None, original=ORIGINAL, is_outside=False):
    """A notice about several recipients."""
    message = message or a_message(original)
    is_whole = notices.gives_whole(message, outcomes[0].fate.action, is_outside=is_outside)
    octets = notices.notice(
        outcomes, message, original=original, is_whole=is_whole and len(original) == message.size,
        hostname="mx.example.com", notice_id=NOTICE_ID, now=NOW,
    )  # fmt: skip
    assert_well_formed(octets)
    return octets


def a_utf8_notice(*, header="From: Jörg\r\n", body="Grüße\r\n", sender="jörg@bücher.example", to="ännchen@example.com",
                  ret="", protocol="UTF8SMTP", orcpt="", result=None):  # fmt: skip
    original = f"{header}\r\n{body}".encode()
    message = a_message(original, sender=sender, protocol=protocol, dsn=Dsn(ret=ret))
    fate = Fate(action=Action.FAILED, status="5.1.1", result=result or a_result("Tür zu"))
    return a_notice(a_delivery(to, alias=None), fate, message=message, original=original,
                    wishes=RecipientDsn((), orcpt))  # fmt: skip


def assert_well_formed(octets):
    """Assert what must be true of every message that Waypost writes, with two parsers from the standard library."""
    assert b"\r" not in octets.replace(b"\r\n", b"")
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert b"\x00" not in octets
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    for policy in (email.policy.default, email.policy.compat32):
        parsed = email.message_from_bytes(octets, policy=policy)
        assert not parsed.defects
        for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"):
            assert len(parsed.get_all(name)) == 1, name
        if not parsed.is_multipart():
            continue
        assert parsed.get_content_type() == "multipart/report"
        assert parsed.get_param("report-type") == "delivery-status"
        assert len(parsed.get_payload()) == 3
        for part in parsed.get_payload():
            assert not part.defects
            assert part["Content-Transfer-Encoding"] in {"7bit", "8bit", "quoted-printable"}
    boundary = re.search(rb'boundary="([^"]+)"', octets)
    if boundary:
        parts = octets.split(b"\r\n--" + boundary[1])
        assert len(parts) == 5
        assert parts[-1] == b"--\r\n"
        for part in parts[1:-1]:
            encoding = re.search(rb"Content-Transfer-Encoding: (\S+)", part)[1]
            assert part.isascii() == (encoding != b"8bit")
        top = octets[: octets.index(b"\r\n\r\n")]
        assert (b"Content-Transfer-Encoding: 8bit" in top) == (not octets[len(top) :].isascii())


def parsed(octets):
    return email.message_from_bytes(octets, policy=email.policy.default)


def the_words(octets):
    return parsed(octets).get_payload(0).get_content().replace("\r\n", "\n")


def the_fields(octets):
    """The fields for the message, then the fields for each recipient."""
    part = parsed(octets).get_payload(1)
    assert part.get_content_type() == "message/delivery-status"
    of_message, *of_recipients = part.get_payload()
    return dict(of_message.items()), *(dict(group.items()) for group in of_recipients)


def raw_part(octets, number):
    boundary = re.search(rb'boundary="([^"]+)"', octets)[1]
    head, _, body = octets.split(b"\r\n--" + boundary)[number + 1].partition(b"\r\n\r\n")
    return head.decode(), body
