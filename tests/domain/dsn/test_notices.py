"""The content of notices to senders and owners, and what notices must not reveal."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.dsn.written_notices import (
    BOB,
    FULL,
    HEADER,
    ID,
    NOTICE_ID,
    NOW,
    a_delivery,
    a_message,
    a_notice,
    a_notice_about,
    a_result,
    a_utf8_notice,
    assert_well_formed,
    failed,
    parsed,
    raw_part,
    the_fields,
    the_words,
)
from waypost.domain.dsn import notices
from waypost.domain.dsn.notices import Action, Bounces, Fate
from waypost.domain.mail.delivery import Notify, Protocol, Reason, Stage, Trouble
from waypost.domain.mail.messages import Dsn, RecipientDsn

# Whether a sender gets a notice.


PERMITTED = {
    "sender": "ann@example.org",
    "reason": Reason.DIRECT,
    "what": Notify.FAILURE,
    "notify": (),
    "mode": Bounces.AUTHENTICATED,
    "is_authentic": True,
}

PERMISSIONS = [
    ({}, ""),
    ({"reason": Reason.FORWARDED}, ""),
    ({"what": Notify.DELAY}, ""),
    ({"what": Notify.SUCCESS}, "the event is a SUCCESS, and the sender gave no NOTIFY parameter"),
    ({"what": Notify.SUCCESS, "notify": ("SUCCESS", "FAILURE")}, ""),
    ({"notify": ("SUCCESS", "DELAY")}, "the event is a FAILURE, and the sender asked for NOTIFY=SUCCESS,DELAY"),
    ({"notify": ("NEVER",)}, "the event is a FAILURE, and the sender asked for NOTIFY=NEVER"),
    ({"sender": "", "mode": Bounces.ALWAYS}, "the message has the null sender, like all reports and automatic mail"),
    ({"reason": Reason.NOTICE, "mode": Bounces.ALWAYS}, "the message is itself a notice"),
    ({"reason": Reason.RETURNED, "mode": Bounces.ALWAYS}, "the message is itself a notice"),
    ({"is_report": True, "mode": Bounces.ALWAYS}, "the message is itself a notice"),
    ({"mode": Bounces.NEVER}, "the settings turn off all notices to senders (bounces)"),
    ({"is_authentic": False}, "nothing proves that the message is from its sender"),
    ({"is_authentic": False, "mode": Bounces.ALWAYS}, ""),
    ({"is_outside": True}, ""),
    ({"is_outside": True, "what": Notify.DELAY}, ""),
    ({"is_outside": True, "is_authentic": False}, "nothing proves that the message is from its sender"),
    (
        {"is_outside": True, "what": Notify.SUCCESS, "notify": ("SUCCESS",), "mode": Bounces.ALWAYS},
        "the sender has no email address here, and such senders get no confirmations (confirm_outside)",
    ),
    ({"is_outside": True, "what": Notify.SUCCESS, "notify": ("SUCCESS",), "confirms_outside": True}, ""),
]


@pytest.mark.parametrize(("changes", "because"), PERMISSIONS)
def test_a_sender_gets_a_notice_unless_there_is_a_reason_against_it(changes, because):
    permission = notices.may_bounce(**PERMITTED | changes)
    assert permission == notices.Permission(granted=not because, because=because)


# The notice.


def test_a_notice_is_from_the_mail_system_and_marked_as_automatic():
    notice = parsed(a_notice())

    assert notice["From"] == "Mail Delivery System <postmaster@mx.example.com>"
    assert notice["To"] == "ann@example.org" or notice["To"] == "<ann@example.org>"
    assert notice["Subject"] == "Your message could not be delivered"
    assert notice["Date"] == "Sun, 22 Nov 2026 23:14:05 +0000"
    assert notice["Message-ID"] == f"<{NOTICE_ID}@mx.example.com>"
    assert notice["Auto-Submitted"] == "auto-replied"
    assert notice["In-Reply-To"] == notice["References"] == "<1@example.org>"
    assert a_notice().isascii()


def test_a_notice_explains_to_people_what_happened_and_what_to_do():
    assert (
        the_words(a_notice())
        == f"""\
This is the mail system at mx.example.com.

Your message could not be delivered to:

    support@example.com

The address does not accept mail. No further attempts will be made.

The receiving server replied:

    550 5.1.1 User unknown

Check the address for typing errors, and send the message again.

The message ID is {ID}.
Please include this ID if you contact postmaster@mx.example.com.
"""
    )


def test_a_notice_has_the_fields_that_programs_read():
    dsn = Dsn(ret="HDRS", envid="an envelope")
    of_message, of_recipient = the_fields(
        a_notice(message=a_message(dsn=dsn), wishes=RecipientDsn(("FAILURE",), "rfc822;Help@example.com"))
    )

    assert of_message == {
        "Original-Envelope-Id": "an envelope",
        "Reporting-MTA": "dns; mx.example.com",
        "Arrival-Date": "Sun, 22 Nov 2026 22:14:05 +0000",
    }
    assert of_recipient == {
        "Original-Recipient": "rfc822; Help@example.com",
        "Final-Recipient": "rfc822; support@example.com",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx1.example.com",
        "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
        "Last-Attempt-Date": "Sun, 22 Nov 2026 23:14:05 +0000",
        "Final-Log-ID": ID,
    }


def test_a_notice_has_no_attempt_fields_if_no_attempt_was_made():
    octets = a_notice(fate=Fate(action=Action.FAILED, status="5.4.7"))

    assert the_fields(octets)[1].keys() == {"Final-Recipient", "Action", "Status", "Final-Log-ID"}
    assert "time limit for attempts" in the_words(octets)
    assert "server replied" not in the_words(octets)


def test_a_notice_of_delay_says_until_when_attempts_continue():
    fate = Fate(
        action=Action.DELAYED, status="4.4.1", attempted_at=NOW, retried_until=NOW + timedelta(days=4),
        result=a_result("no route", code=None, enhanced="", trouble=Trouble.UNREACHABLE, stage=Stage.CONNECT),
    )  # fmt: skip
    octets = a_notice(fate=fate)
    _, of_recipient = the_fields(octets)

    assert of_recipient["Action"] == "delayed"
    assert of_recipient["Will-Retry-Until"] == "Thu, 26 Nov 2026 23:14:05 +0000"
    assert of_recipient["Diagnostic-Code"] == "x-waypost; unreachable: no route"
    assert "The problem was:\n\n    unreachable: no route\n" in the_words(octets)
    assert "\nDelivery attempts will continue until Thu, 26 Nov 2026 23:14:05 +0000.\n" in the_words(octets)
    assert "No further attempts" not in the_words(octets)


def test_a_notice_of_delay_without_an_end_of_attempts_names_none():
    words = the_words(a_notice(fate=Fate(action=Action.DELAYED, status="4.4.1")))
    assert "Delivery attempts will continue." in words


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.RELAYED, Action.EXPANDED])
def test_a_notice_of_success_has_the_action_and_status(action):
    octets = a_notice(fate=Fate(action=action, status="2.0.0"))

    assert the_fields(octets)[1]["Action"] == action
    assert the_fields(octets)[1]["Status"] == "2.0.0"
    assert "You do not need to do anything" in the_words(octets)


def test_one_notice_can_report_several_recipients():
    of_alias = failed("Bob Smith is away")
    outcomes = [
        notices.RecipientOutcome(recipient="a@example.com", fate=failed()),
        notices.RecipientOutcome(recipient="support@example.com", fate=of_alias, is_forwarded=True),
    ]
    octets = a_notice_about(outcomes, message=a_message(recipients=("a@example.com", "support@example.com")))
    of_message, first, second = the_fields(octets)

    assert of_message["Reporting-MTA"] == "dns; mx.example.com"
    assert (first["Final-Recipient"], second["Final-Recipient"]) == (
        "rfc822; a@example.com", "rfc822; support@example.com",
    )  # fmt: skip
    assert (first["Remote-MTA"], second.get("Remote-MTA")) == ("dns; mx1.example.com", None)
    assert b"Bob" not in octets
    words = the_words(octets)
    assert words.index("    a@example.com\n") < words.index("    support@example.com\n")
    assert words.count("Your message could not be delivered to:") == words.count("The message ID is") == 1


STATUSES = [
    (Action.FAILED, "5.7.1", "5.7.1"),
    (Action.FAILED, "4.7.1", "5.0.0"),
    (Action.FAILED, "", "5.0.0"),
    (Action.FAILED, "5.1.1\r\nAction: delivered", "5.0.0"),
    (Action.DELAYED, "4.4.3", "4.4.3"),
    (Action.DELAYED, "5.4.3", "4.0.0"),
    (Action.DELIVERED, "2.1.5", "2.1.5"),
    (Action.RELAYED, "5.0.0", "2.0.0"),
]


@pytest.mark.parametrize(("action", "status", "reported"), STATUSES)
def test_the_status_agrees_with_the_action(action, status, reported):
    assert the_fields(a_notice(fate=Fate(action=action, status=status)))[1]["Status"] == reported


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("5.1.10", "The address does not accept mail."),
        ("5.2.2", "The mailbox cannot accept mail at the moment."),
        ("5.3.4", "The message is too large for the receiving system."),
        ("5.3.0", "The receiving system reported a problem."),
        ("5.4.6", "The message was caught in a mail loop."),
        ("5.6.7", "The receiving system cannot process this type of message."),
        ("5.7.1", "The receiving system refused the message."),
        ("5.0.0", "The receiving system reported a problem."),
    ],
)
def test_each_kind_of_failure_has_its_own_explanation(status, words):
    assert words in the_words(a_notice(fate=Fate(action=Action.FAILED, status=status)))


RESULTS = [
    (a_result(), "smtp; 550 5.1.1 User unknown", "dns; mx1.example.com"),
    (a_result(enhanced="5.1.1\r\nX: y"), "smtp; 550 User unknown", "dns; mx1.example.com"),
    (a_result(enhanced="", text=""), "smtp; 550", "dns; mx1.example.com"),
    (a_result(protocol=Protocol.LMTP, peer="/run/lmtp"), "smtp; 550 5.1.1 User unknown", None),
    (a_result(protocol=Protocol.WEBHOOK, peer="hooks.example.com", code=410, enhanced="", text="Gone"),
     "x-waypost; 410 Gone", None),
    (a_result(protocol=Protocol.MAILDIR, peer="/var/mail", code=None, enhanced="", text="", trouble=Trouble.FAILED),
     "x-waypost; failed", None),
    (a_result(code=None, enhanced="", text=""), None, "dns; mx1.example.com"),
    (a_result(peer=""), "smtp; 550 5.1.1 User unknown", None),
    (a_result(peer="evil\r\nX:y"), "smtp; 550 5.1.1 User unknown", None),
]  # fmt: skip


@pytest.mark.parametrize(("result", "diagnostic", "remote"), RESULTS)
def test_a_notice_reports_the_result_of_the_attempt(result, diagnostic, remote):
    _, of_recipient = the_fields(a_notice(fate=Fate(action=Action.FAILED, status="5.0.0", result=result)))

    assert of_recipient.get("Diagnostic-Code") == diagnostic
    assert of_recipient.get("Remote-MTA") == remote


# Mail that is not ASCII.


def types_of(octets):
    return [re.search(r"Content-Type: (\S+?);?(?:\s|$)", raw_part(octets, number)[0])[1] for number in range(3)]


def test_a_client_that_declared_smtputf8_gets_a_notice_in_utf8():
    octets = a_utf8_notice(orcpt="utf-8;ännchen@example.net")

    assert types_of(octets) == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    assert "To: <jörg@bücher.example>\r\n".encode() in octets
    _, fields = raw_part(octets, 1)
    assert "Original-Recipient: utf-8; ännchen@example.net\r\n".encode() in fields
    assert "Final-Recipient: utf-8; ännchen@example.com\r\n".encode() in fields
    assert "Diagnostic-Code: smtp; 550 5.1.1 Tür zu\r\n".encode() in fields
    assert raw_part(octets, 2)[1] == "From: Jörg\r\n".encode()


def test_a_notice_for_a_sender_whose_domain_alone_is_not_ascii_needs_no_smtputf8():
    octets = a_utf8_notice(header="From: Ann\r\n", body="Hi\r\n", sender="ann@bücher.example", to="support@example.com")

    assert b"To: <ann@xn--bcher-kva.example>\r\n" in octets
    assert octets.isascii()
    assert types_of(octets)[1] == "message/delivery-status"


def test_a_whole_utf8_message_is_returned_as_message_global():
    octets = a_utf8_notice(ret="FULL")
    assert types_of(octets)[2] == "message/global"
    assert raw_part(octets, 2)[1] == "From: Jörg\r\n\r\nGrüße\r\n".encode()


def test_an_ascii_header_is_returned_without_a_global_type():
    assert types_of(a_utf8_notice(header="From: Ann\r\n"))[2] == "text/rfc822-headers"
    assert types_of(a_utf8_notice(header="From: Ann\r\n", ret="FULL"))[2] == "message/rfc822"


def test_a_header_in_another_charset_is_returned_without_a_global_type():
    original = b"Subject: Gr\xfc\xdfe\r\n\r\nHello\r\n"
    octets = a_notice(message=a_message(original, protocol="UTF8SMTP"), original=original)

    assert types_of(octets)[2] == "text/rfc822-headers"
    assert octets.isascii()


def test_the_notice_about_an_ascii_message_is_ascii_even_if_the_client_declared_smtputf8():
    octets = a_utf8_notice(header="From: Ann\r\n", body="x\r\n", sender="ann@example.org", to="support@example.com")

    assert types_of(octets) == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    assert octets.isascii()
    assert "Tür zu" in the_words(octets)
    assert the_fields(octets)[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 T?r zu"


def test_a_client_that_did_not_declare_smtputf8_gets_a_notice_in_ascii():
    octets = a_utf8_notice(protocol="ESMTP", sender="ann@example.org", orcpt="utf-8;ä+b=c\\d@example.net")
    _, of_recipient = the_fields(octets)

    assert octets.isascii()
    assert of_recipient["Original-Recipient"] == "utf-8; \\x{E4}\\x{2B}b\\x{3D}c\\x{5C}d@example.net"
    assert of_recipient["Final-Recipient"] == "utf-8; \\x{E4}nnchen@example.com"


def test_an_incomplete_utf8_character_in_a_reply_does_no_harm():
    a_notice(fate=failed("bad \udcff byte"))
    a_utf8_notice(result=a_result("bad \udcff byte"))


# Hostile text.


HOSTILE = "x\r\nX-Evil: 1\r\n\r\n--=_\x00\x1b[2J\u202e\x85\u2028y"


@pytest.mark.parametrize(
    "changes",
    [
        {"fate": failed(HOSTILE)},
        {"fate": failed("x" * 100_000)},
        {"fate": failed("ä" * 100_000)},
        {"fate": failed("💥 " * 100_000)},
        {"fate": failed(peer=HOSTILE, enhanced=HOSTILE)},
        {"fate": Fate(action=Action.FAILED, status=HOSTILE)},
        {"message": a_message(dsn=Dsn(envid=HOSTILE))},
        {"message": a_message(sender=f"{HOSTILE}@example.org", header_id=HOSTILE)},
        {"message": a_message(header_id="x" * 10_000)},
        {"message": a_message(sender="💥" * 400 + "@example.org", protocol="UTF8SMTP")},
        {"wishes": RecipientDsn((), f"rfc822;{HOSTILE}")},
        {"wishes": RecipientDsn((), f"{HOSTILE};x")},
        {"wishes": RecipientDsn((), "no kind")},
        {"wishes": RecipientDsn((), "utf-8;" + "ä" * 5000)},
    ],
)
def test_hostile_text_stays_on_one_line(changes):
    octets = a_notice(**changes)

    assert not re.search(rb"\nX-Evil", octets)
    assert not re.search("[\x00\x1b\u202e\x85\u2028]", octets.decode())
    assert len(the_fields(octets)[1] if b"message/delivery-status" in octets else "") < 11


@given(st.data())
def test_the_notice_is_well_formed_for_any_message_and_any_reply(data):
    texts = st.text(max_size=80)
    original = data.draw(st.binary(max_size=200)) + b"\r\n\r\n" + data.draw(st.binary(max_size=200))
    dsn = Dsn(data.draw(st.sampled_from(["", "FULL"])), data.draw(texts))
    protocol = data.draw(st.sampled_from(["ESMTP", "UTF8SMTP"]))
    senders = texts.filter(lambda text: "[" not in text)  # at `@[` the parser of Python 3.11 raises AttributeError
    message = a_message(original, sender=data.draw(senders), header_id=data.draw(texts), protocol=protocol, dsn=dsn)
    fate, wishes = failed(data.draw(texts), peer=data.draw(texts)), RecipientDsn((), data.draw(texts))
    a_notice(a_delivery(), fate, message=message, original=original, wishes=wishes)


def test_the_boundary_does_not_occur_in_any_part():
    name = f"=_{NOTICE_ID}"
    original = HEADER + f"\r\n--{name}.0\r\n--{name}.0--\r\n{name}.1\r\n".encode()
    octets = a_notice(message=a_message(original, dsn=FULL), original=original)

    assert parsed(octets).get_boundary() == f"{name}.2"
    assert raw_part(octets, 2)[1] == original


# Notices to owners.


def test_the_notice_to_an_owner_lists_the_servers_that_the_message_passed_through():
    octets = notices.owner_notice(
        a_delivery(), a_message(subject="Grüße"), ["client.example.org", "mx.example.com"],
        hostname="mx.example.com", notice_id=NOTICE_ID, now=NOW,
    )  # fmt: skip
    assert_well_formed(octets)
    notice = parsed(octets)

    assert octets.isascii()
    assert notice["To"].addresses[0].addr_spec == BOB
    assert notice["Subject"] == "A message to you was caught in a mail loop"
    assert notice["Auto-Submitted"] == "auto-generated"
    assert notice["References"] == "<1@example.org>"
    text = notice.get_content().replace("\r\n", "\n")
    for line in (
        f"    id       {ID}",
        "    from     <ann@example.org>",
        "    to       <support@example.com>",
        f"    for      <{BOB}>",
        "    subject  Grüße",
        "    1. client.example.org",
        "    2. mx.example.com",
    ):
        assert f"{line}\n" in text


def test_the_notice_to_an_owner_with_a_utf8_address_is_in_utf8_and_can_have_an_empty_path():
    octets = notices.owner_notice(
        a_delivery("jörg@example.com"), a_message(subject=HOSTILE, sender="", header_id=""), [],
        hostname="mx.example.com", notice_id=NOTICE_ID, now=NOW,
    )  # fmt: skip
    assert_well_formed(octets)

    assert "To: <jörg@example.com>\r\n".encode() in octets
    assert b"    (the message's header lists no servers)\r\n" in octets
    assert b"References" not in octets
    assert b"\r\nX-Evil" not in octets
