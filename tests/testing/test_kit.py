"""What a test can do with a server: the methods of `waypost.testing.Waypost`, against a real server."""

import gzip
import math
import os
import re
import smtplib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import freezegun
import pytest

from tests.kit.patience import PATIENCE
from waypost.testing import CallFailed, EmailAddress, NoSuchMail, ServerRefused, Waypost

HTML = "<p>Hällo</p>"


@pytest.fixture
def support(waypost):
    return waypost.address("support@example.com")


# Sending and reading


def test_mail_has_its_parts(waypost, support):
    inner = b"From: x@example.org\r\nSubject: inner\r\n\r\nInner text\r\n"
    files = {
        "bill.pdf": b"%PDF-\0\xff",
        "Übersicht.txt": "Grüße",
        "mail.eml": inner,
        "report.csv.gz": gzip.compress(b"a,b"),
    }
    sent = waypost.send(to=support, subject="Grüße", text="Hällo\nyou", html=HTML, attachments=files)
    (mail,) = waypost.inbox(support)
    assert (mail.id, mail.address, mail.to, mail.sender) == (sent.id, support, support, "ann@example.org")
    assert (mail.subject, mail.text, mail.html) == ("Grüße", "Hällo\nyou", HTML)
    assert [(one.filename, one.content_type) for one in mail.attachments] == [
        ("bill.pdf", "application/pdf"),
        ("Übersicht.txt", "text/plain"),
        ("mail.eml", "application/octet-stream"),
        ("report.csv.gz", "application/octet-stream"),
    ]
    assert [one.content for one in mail.attachments] == [
        b"%PDF-\0\xff",
        "Grüße".encode(),
        inner,
        files["report.csv.gz"],
    ]
    assert (mail.reason, mail.via, mail.status) == ("direct", None, "delivered")
    assert abs(mail.received_at - datetime.now(UTC)) < timedelta(seconds=PATIENCE)
    assert b"Received: from" in mail.raw
    assert mail.message["To"] == support
    assert mail.size < len(mail.raw)


def test_mail_can_have_only_html_or_no_content_at_all(waypost, support):
    waypost.send(to=support, html=HTML)
    waypost.send(to=support)
    found = waypost.inbox(support)
    assert [(mail.text, mail.html) for mail in found] == [("Hällo", HTML), ("", "")]
    assert [mail.attachments for mail in found] == [[], []]


def test_mail_for_an_alias_arrives_at_the_primary_too(waypost, support):
    link = waypost.alias(primary="queue", alias=support)
    waypost.send(to=support, subject="Hello")
    (mail,) = link.primary.inbox()
    assert (mail.reason, mail.via, mail.subject) == ("forwarded", support, "Hello")
    assert mail.trace.kinds == ["accepted", "delivered", "delivered"]
    assert f"{support} is an alias of {link.primary}" in str(mail.trace)
    assert sorted(one.reason for one in waypost.mail()) == ["direct", "forwarded"]
    assert waypost.mail()[0] != waypost.mail()[1]
    assert waypost.inbox(support) == [one for one in waypost.mail() if one.address == support]
    assert len({*waypost.mail(), *waypost.inbox(support)}) == 2
    link.remove()
    link.remove()
    waypost.send(to=support)
    assert len(link.primary.inbox()) == 1


def test_a_message_is_sent_as_it_is(waypost, support, tmp_path):
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = "Ben <ben@example.org>", f"Support <{support}>", "b@example.com"
    message["Subject"] = "An object"
    message.set_content("Hi")
    hidden = waypost.address("b@example.com")
    waypost.send(message)
    assert message["Bcc"] == "b@example.com"
    raw = b"From: c@example.org\r\nTo: %s\r\nSubject: Bytes\r\n\r\n.dot\r\n" % support.encode()
    waypost.send(raw)
    file = tmp_path / "mail.eml"
    file.write_bytes(raw.replace(b"\r\n", b"\n").replace(b"Bytes", b"A file"))
    waypost.send(file, sender="", to=[support, hidden])
    waypost.send(str(file), sender="d@example.org")
    found = waypost.inbox(support)
    assert [(mail.subject, mail.sender) for mail in found] == [
        ("An object", "ben@example.org"),
        ("Bytes", "c@example.org"),
        ("A file", ""),
        ("A file", "d@example.org"),
    ]
    assert found[1].raw.endswith(raw)
    assert found[3].raw.endswith(b"\r\n\r\n.dot\r\n")
    assert [mail.subject for mail in hidden.inbox()] == ["An object", "A file"]
    assert b"b@example.com" not in found[0].raw


def test_addresses_and_content_may_be_outside_ascii(waypost):
    address = waypost.address("grüße@example.com")
    waypost.send(to=address, sender="änn@example.org", text="ü")
    waypost.send(f"From: ben@example.org\r\nTo: {address}\r\nSubject: é\r\n\r\né\r\n".encode())
    assert [(mail.sender, mail.text) for mail in address.inbox()] == [
        ("änn@example.org", "ü"),
        ("ben@example.org", "é"),
    ]


def test_a_message_with_its_parts_as_well_is_a_mistake(waypost, support):
    with pytest.raises(TypeError, match="either a message, or the parts"):
        waypost.send(b"Subject: x\r\n\r\n", to=support, subject="y")


def test_mail_without_a_recipient_is_a_mistake(waypost):
    for message in (None, b"Subject: x\r\n\r\n"):
        with pytest.raises(TypeError, match="Name a recipient"):
            waypost.send(message, subject="" if message else "x")


def test_only_an_empty_sender_is_the_null_sender(waypost, support):
    waypost.send(b"Subject: x\r\n\r\n", to=support)
    waypost.send(b"Subject: x\r\n\r\n", to=support, sender="")
    assert [mail.sender for mail in support.inbox()] == ["ann@example.org", ""]


def test_a_refusal_is_an_exception_of_smtplib(waypost, support):
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        waypost.send(to="nobody@example.com")
    assert refused.value.recipients["nobody@example.com"][0] == 550
    sent = waypost.send(to=[support, "nobody@example.com"], headers={"X-Order": "7"})
    assert sent.refused["nobody@example.com"][0] == 550
    assert support.inbox()[0].message["X-Order"] == "7"
    with pytest.raises(smtplib.SMTPDataError):
        waypost.send(b"Received: x\r\n" * 101 + b"\r\nx\r\n", sender="ann@example.org", to=support)
    assert [one["stage"] for one in waypost.refusals()] == ["message", "rcpt", "rcpt"]


def test_parts_that_are_broken_are_read_as_well_as_possible(waypost, support):
    inner = "From: x@example.org\r\nSubject: inner\r\n\r\nInner text\r\n"
    waypost.send(
        (
            'From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n'
            "--x\r\nContent-Type: text/plain; charset=unknown-9\r\n\r\nplain\r\n"
            f"--x\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n"
            "--x\r\nContent-Type: image/png\r\nContent-Disposition: inline\r\n\r\nx\r\n"
            "--x\r\nContent-Type: image/png\r\nContent-ID: <shown@by.html>\r\n\r\nx\r\n"
            "--x\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment\r\n\r\nx\r\n--x--\r\n"
        ).encode(),
        to=support,
    )
    (mail,) = support.inbox()
    assert mail.text == "plain"
    assert [(one.content_type, one.content) for one in mail.attachments] == [
        ("message/rfc822", inner.encode()),
        ("image/png", b"x"),
        ("application/octet-stream", b"x"),
    ]


def test_an_inbox_that_does_not_exist_is_an_error(waypost):
    with pytest.raises(ServerRefused):
        waypost.inbox("nobody@example.com")


# Waiting


def test_mail_that_is_there_is_found_at_once(waypost, support):
    waypost.alias(primary="queue", alias=support)
    for subject in ("first", "second", "second"):
        waypost.send(to=support, subject=subject, text=f"This is {subject}.")
    sent = waypost.mail()
    wait_for = waypost.wait_for
    assert wait_for(address=support).subject == "first"
    assert wait_for(subject="second", address="SUPPORT@example.com").id == sent[2].id == sent[3].id
    assert wait_for(text="is second", reason="forwarded", via=support).status == "delivered"
    assert wait_for(subject=re.compile("^sec"), sender=re.compile("example.org$")).subject == "second"
    assert wait_for(lambda mail: mail.via is not None, subject="first").reason == "forwarded"
    with pytest.raises(TypeError, match="Say what to wait for"):
        wait_for()


@pytest.mark.parametrize("timeout", [PATIENCE, math.inf, 1e300], ids=["finite", "endless", "huge"])
def test_mail_that_arrives_later_ends_the_wait(waypost, support, timeout):
    def send():
        assert has_looked.wait(PATIENCE)
        waypost.send(to=support, subject="other")
        waypost.send(to=support, subject="later")

    def is_it(mail):
        has_looked.set()
        return mail.subject == "later"

    has_looked = threading.Event()
    thread = threading.Thread(target=send)
    thread.start()
    waypost.send(to=support, subject="earlier")
    assert waypost.wait_for(is_it, timeout=timeout).subject == "later"
    thread.join()


def test_a_change_of_a_delivery_ends_the_wait(waypost, support):
    waypost.route(support, "smtp://127.0.0.1:1", fault="permfail")
    waypost.send(to=support, subject="given up")
    found = waypost.wait_for(subject="given up", status="dead", timeout=PATIENCE)
    assert "dead" in found.trace.kinds


@pytest.mark.parametrize(
    "wanted", [{"text": "this one"}, {"predicate": lambda mail: "this one" in mail.text}], ids=["keyword", "predicate"]
)
def test_mail_whose_content_no_inbox_has_kept_does_not_match(waypost, support, wanted, tmp_path):
    waypost.route("sent@example.com", f"maildir:{tmp_path}/mail")
    waypost.send(to=waypost.address("sent@example.com"), text="this one")
    waypost.wait_for(status="delivered", timeout=PATIENCE)
    waypost.send(to=support, text="this one")
    assert waypost.wait_for(**wanted).address == support


def test_the_error_says_what_was_awaited_and_what_arrived_instead(waypost, support):
    waypost.send(to=support, subject="Another")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to="suport@example.com", subject="Hello")
    began = time.monotonic()
    with pytest.raises(NoSuchMail) as failed:
        waypost.wait_for(subject="Hello", to=re.compile("^s"), timeout=0.2)
    assert time.monotonic() - began < PATIENCE
    assert str(failed.value) == (
        "No mail with to=/^s/, subject='Hello' arrived within 0.2 s. 1 delivery arrived:\n"
        "  'Another' from <ann@example.org> at support@example.com: direct, delivered\n"
        "1 recipient or message was refused:\n"
        "  from <ann@example.org> to <suport@example.com>: 550 5.1.1 No such address here"
    )
    with pytest.raises(AssertionError, match=r"predicate .*<lambda> \(.*test_kit.py:\d+\)"):
        waypost.wait_for(lambda mail: mail.subject == "x", timeout=0)


def test_the_error_says_how_to_wait_for_forwarded_mail(waypost):
    link = waypost.alias(primary="queue@example.com", alias="support@example.com")
    waypost.send(to=link.alias)
    advice = (
        r"Mail at queue@example\.com was sent to support@example\.com\. Wait for it with address='queue@example\.com'\."
    )
    with pytest.raises(NoSuchMail, match=advice):
        waypost.wait_for(to=link.primary, timeout=0)
    assert waypost.wait_for(address=link.primary, timeout=0).reason == "forwarded"


def test_the_error_lists_only_the_newest_mail(waypost, support):
    for number in range(23):
        waypost.send(to=support, subject=f"number {number}")
    with pytest.raises(NoSuchMail) as failed:
        waypost.wait_for(subject="x", timeout=0)
    lines = str(failed.value).splitlines()
    assert "23 deliveries arrived:" in lines[0]
    assert lines[1] == "  … 3 earlier"
    assert "'number 3'" in lines[2]
    assert "'number 22'" in lines[-1]


def test_the_error_says_that_nothing_arrived(waypost):
    with pytest.raises(NoSuchMail, match=r"No deliveries arrived$"):
        waypost.wait_for(subject="x", timeout=0)


def test_the_kit_works_while_the_time_is_frozen(waypost):
    with freezegun.freeze_time("2020-02-02"):
        support = waypost.address("support")
        waypost.send(to=support, subject="Hello")
        assert waypost.wait_for(subject="Hello", timeout=PATIENCE).trace.kinds == ["accepted", "delivered"]
        with pytest.raises(NoSuchMail):
            waypost.wait_for(subject="x", timeout=0.2)
        waypost.reset()
        with Waypost() as other:
            assert other.mail() == []


# Email addresses, routes, the clock


def test_an_email_address_is_unique_or_exactly_the_given_one(waypost):
    first, second = waypost.address("support"), waypost.address("support")
    assert first != second
    assert re.fullmatch(r"support-[0-9a-f]{8}@example\.com", first)
    exact = waypost.address("Help@example.org", DisplayName="Help")
    assert exact == "Help@example.org"
    again = waypost.address("help@example.org")
    assert (again.id, again.arn) == (exact.id, exact.arn)
    found = waypost.client().describe_email_address(InstanceId=waypost.instance_id, EmailAddressId=exact.id)
    assert (found["DisplayName"], found["EmailAddressArn"]) == ("Help", exact.arn)
    assert waypost.address(domain="example.net").endswith("@example.net")
    with pytest.raises(CallFailed) as failed:
        waypost.address("not an address@")
    assert failed.value.code == "InvalidParameterException"


def test_an_email_address_is_removed_at_the_end_of_a_with_block(waypost):
    with waypost.address("short") as short:
        assert isinstance(short, EmailAddress)
        waypost.send(to=short)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to=short)
    assert len(short.inbox()) == 1
    short.remove()


def test_a_link_that_the_server_refuses_is_an_error(waypost):
    link = waypost.alias(primary="a", alias="b")
    with pytest.raises(CallFailed) as failed:
        waypost.alias(primary=link.primary, alias="c")
    assert failed.value.code == "ResourceConflictException"
    with link:
        pass
    with waypost.alias(primary=link.primary, alias="c"):
        pass


def test_retries_happen_when_the_clock_is_moved_forward(waypost, support):
    before = waypost.clock.now
    with waypost.route(support, "smtp://127.0.0.1:1", fault="tempfail") as route:
        waypost.send(to=support, subject="late")
        assert waypost.dead_letters() == []
        now = waypost.clock.advance("6d")
        assert now - before >= timedelta(days=6)
    (letter,) = waypost.dead_letters(support)
    assert (letter.subject, letter.address, letter.to) == ("late", support, support)
    assert letter.because.startswith("Not delivered in 5d")
    assert "deferred" in waypost.trace(letter.message_id).kinds
    assert waypost.dead_letters(waypost.address()) == []
    letter.redrive()
    waypost.clock.advance(timedelta(seconds=90))
    assert waypost.dead_letters() == []
    assert waypost.wait_for(subject="late", status="delivered", timeout=PATIENCE).raw
    with pytest.raises(ServerRefused):
        letter.redrive()
    route.remove()
    with pytest.raises(ValueError, match="whole seconds"):
        waypost.clock.advance(timedelta(seconds=0.5))
    waypost.reset()
    assert waypost.clock.now - before < timedelta(seconds=PATIENCE)


def test_faults_are_injected_into_the_mail_of_a_test(waypost, support):
    busy = waypost.fault("rcpt", "defer", recipient=support, reply="450 4.2.0 Mailbox busy")
    with busy, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        waypost.send(to=support)
    assert refused.value.recipients[support] == (450, b"4.2.0 Mailbox busy")
    waypost.send(to=support)
    fault = waypost.fault("message", "cut", times=1)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        waypost.send(to=support)
    assert len(support.inbox()) == 2
    fault.remove()
    fault.remove()
    waypost.fault("connect", "refuse")
    waypost.reset()
    waypost.send(to=waypost.address())
    with pytest.raises(ServerRefused, match="stage"):
        waypost.fault("never", "defer")


def test_everything_is_empty_after_a_reset(waypost, support):
    waypost.alias(primary="queue", alias=support)
    waypost.route("*", "smtp://127.0.0.1:1", fault="permfail")
    waypost.send(to=support)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to="nobody@example.com")
    waypost.reset()
    assert waypost.mail() == waypost.refusals() == waypost.dead_letters() == []
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to=support)
    waypost.alias(primary="queue@example.com", alias="support@example.com")
    waypost.send(to=support)
    assert len(waypost.mail()) == 2


def test_a_forked_process_leaves_the_server_of_its_parent_alone():
    with Waypost() as waypost:
        address = waypost.address("support")
        child = os.fork()
        if child == 0:
            waypost.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        waypost.send(to=address, subject="Still there")
        assert [mail.subject for mail in address.inbox()] == ["Still there"]


def test_modules_in_the_working_directory_do_not_replace_those_of_the_server(tmp_path):
    (tmp_path / "queue.py").write_text("BUSY = 3\n")
    code = "from waypost.testing import Waypost\nwith Waypost() as waypost: assert waypost.is_running"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)


def test_routes_that_are_added_and_removed_at_the_same_time_keep_their_names(waypost):
    def add_and_remove(name):
        for number in range(15):
            route = waypost.route(f"{name}-{number}@example.com", "smtp://127.0.0.1:9")
            assert route.match == f"{name}-{number}@example.com"
            route.remove()

    with ThreadPoolExecutor() as threads:
        list(threads.map(add_and_remove, "abc"))
    assert [route["number"] for route in waypost.connection.get("routes")["routes"]] == []
