"""Waypost delivers mail over its routes to real peers, unchanged, and without loops."""

import shutil
import smtplib
import socket
import subprocess
from contextlib import ExitStack, contextmanager

import dkim
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP

from tests.kit import signed_mail
from tests.kit.free_ports import free_port
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import ACCEPTED, configured, logged

SMTP_SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
MESSAGE = signed_mail.MESSAGE.replace(
    b"\r\n\r\n", b"\r\nX-Odd:  two  spaces\t\r\n\r\n.a line with a dot\r\n..two\r\n\xc3\xbc\r\n", 1
)


class Kept:
    """A handler for aiosmtpd that keeps the received envelopes."""

    def __init__(self):
        self.envelopes = []

    async def handle_DATA(self, server, session, envelope):
        self.envelopes.append(envelope)
        return "250 kept"


class LmtpController(Controller):
    def factory(self):
        return LMTP(self.handler, enable_SMTPUTF8=True)


@contextmanager
def lmtp_of_aiosmtpd():
    kept = Kept()
    controller = LmtpController(kept, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port, kept
    finally:
        controller.stop()


@contextmanager
def smtp_sink(tmp_path):
    """Run Postfix's smtp-sink, which writes each message to a file; yield its port and its directory."""
    directory = tmp_path / "sink"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    for parent in list(directory.parents)[:-1]:
        parent.chmod(parent.stat().st_mode | 0o011)
    port = free_port()
    process = subprocess.Popen(
        [SMTP_SINK, "-u", "nobody", "-R", str(directory), "-d", "%M.", f"127.0.0.1:{port}", "20"]
    )
    wait_until(lambda: _answers(port))
    try:
        yield port, directory
    finally:
        process.kill()
        process.wait()


def _answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(SMTP_SINK is None, reason="Postfix's smtp-sink is not installed")
def test_deliveries_by_lmtp_and_smtp_are_unchanged_and_keep_the_signature_valid(tmp_path):
    signed = signed_mail.sign(MESSAGE)
    with smtp_sink(tmp_path) as (smtp, directory), lmtp_of_aiosmtpd() as (lmtp, kept):
        settings = f"""
            [[route]]
            match = "help@example.com"
            to = "lmtp://127.0.0.1:{lmtp}"
            keep = true
            [[route]]
            match = "*@example.com"
            to = "smtp://127.0.0.1:{smtp}"
        """
        with configured(tmp_path, settings) as system:
            alias, primary = _make(system, "help@example.com"), _make(system, "support@example.com")
            system.connect.associate_email_address_alias(**system._link(alias, primary))
            message_id = system.deliver(signed, alias)
            wanted = {alias: "delivered", primary: "delivered"}
            wait_until(lambda: _statuses(system, message_id) == wanted)
            (envelope,), (dumped,) = kept.envelopes, directory.iterdir()
            at_sink = dumped.read_bytes().replace(b"\n", b"\r\n")
            at_inbox = system.raw(message_id, alias)
    assert envelope.rcpt_tos == [alias]
    assert b"Delivered-To: " + primary.encode() + b"\r\n" in at_sink
    assert b"X-Rcpt-Args: <" + primary.encode() + b">" in at_sink
    for octets in (envelope.original_content, at_inbox, at_sink.removesuffix(b"\r\n")):
        assert octets.endswith(signed)
        assert dkim.verify(octets, dnsfunc=lambda *_, **__: signed_mail.key()[1].encode())


def test_a_loop_between_two_servers_ends_after_one_round_with_one_notice_to_the_owner(tmp_path):
    ports = [free_port(), free_port()]
    with ExitStack() as opened:
        systems = []
        for name, own, other in zip(("one", "two"), ports, reversed(ports), strict=True):
            settings = f'[[route]]\nmatch = "*@example.com"\nto = "smtp://127.0.0.1:{other}"\n'
            options = ("--smtp", f"127.0.0.1:{own}", "--hostname", f"{name}.example")
            systems.append(opened.enter_context(configured(tmp_path, settings, *options, name=name)))
        first, second = systems
        for system in systems:
            _make(system, "support@example.com")
        sent = [first.deliver(b"Subject: hello\r\n\r\nHello.\r\n", "support@example.com") for _ in range(3)]
        notices = wait_until(lambda: second.inbox("support@example.com"))
        refused = wait_until(lambda: logged(first.server, "message_refused")[2:])
        dead = wait_until(lambda: logged(second.server, "given_up")[2:])
        traces = [
            second.json(f"messages/{line['id'].partition('.')[0]}")["trace"]
            for line in logged(second.server, "given_up")
        ]
        assert first.inbox("support@example.com") == []
        assert len(second.inbox("support@example.com")) == 1
    assert [notice["reason"] for notice in notices] == ["notice"]
    assert refused[0]["reply"].startswith("554 5.4.6")
    assert len(dead) == 1
    for trace in traces:
        dead_event = next(event for event in trace if event["event"] == "dead")
        assert dead_event["path"] == "one.example → two.example"
        assert dead_event["reply"].startswith("554 5.4.6")
    assert len(sent) == 3


def test_a_late_bounce_is_in_the_trace_and_its_notice_hides_the_primary(tmp_path):
    with Sink() as sink:
        settings = f"""
            [[route]]
            match = "support@example.com"
            to = "{sink.to}"
            [delivery]
            srs_domain = "bounces.example.com"
        """
        with configured(tmp_path, settings) as system:
            alias, primary = _make(system, "help@example.com"), _make(system, "support@example.com")
            author = _make(system, "author@example.com")
            system.connect.associate_email_address_alias(**system._link(alias, primary))
            message_id = system.deliver(b"Subject: hello\r\n\r\nHello.\r\n", alias, sender=author)
            (taken,) = sink.wait_for(1)
            assert taken.sender.startswith("SRS0=")
            assert taken.sender.endswith("@bounces.example.com")
            assert system.rcpt(taken.sender)[0] == 550, "a message with a sender is not a bounce"
            bounce = REPORT.format(primary=primary).replace("\n", "\r\n").encode()
            bounce_id = system.deliver(bounce, taken.sender.swapcase(), sender="")
            (listed,) = wait_until(lambda: system.inbox(author))
            trace = system.json(f"messages/{message_id}")["trace"]
            assert [message["id"] for message in system.inbox(primary)] == [bounce_id]
            notice = system.raw(listed["id"], author)
    late = next(event for event in trace if event["event"] == "late bounce")
    assert (late["address"], late["bounce"], late["status"]) == (primary, bounce_id, "5.1.1")
    assert primary.encode() not in notice
    assert b"Final-Recipient: rfc822; " + alias.encode() in notice


REPORT = """\
From: MAILER-DAEMON@peer.example
Subject: Undelivered
Content-Type: multipart/report; report-type=delivery-status; boundary=xx
MIME-Version: 1.0

--xx
Content-Type: text/plain

It failed for {primary}.
--xx
Content-Type: message/delivery-status

Reporting-MTA: dns; peer.example

Final-Recipient: rfc822; {primary}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{primary}> unknown

--xx--
"""


def _make(system, address):
    made = system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)
    system.ids[address] = made["EmailAddressId"]
    return address


def _statuses(system, message_id):
    return {one["address"]: one["status"] for one in system.json(f"messages/{message_id}")["deliveries"]}


PLAIN = b"From: ann@client.example\r\nSubject: plain\r\n\r\nplain lines\r\n"
UTF8_HEADER = "From: ann@client.example\r\nSubject: Grüße\r\n\r\nplain lines\r\n".encode()
SMTPUTF8, BINARYMIME = "SMTPUTF8", "BODY=BINARYMIME"


def test_a_peer_without_extensions_gets_all_mail_that_does_not_need_them(tmp_path):
    offer = ("PIPELINING", "8BITMIME")
    with Sink(extensions=offer) as relay, Sink(extensions=offer, is_lmtp=True) as store:
        routes = [("grüße@example.com", "inbox"), ("desk@example.com", relay.to), ("*", store.to)]
        settings = "".join(f'[[route]]\nmatch = "{match}"\nto = "{to}"\n' for match, to in routes)
        with configured(tmp_path, settings) as system:
            for address in ("grüße@example.com", "desk@example.com", "büro@example.com", "info@bücher.example"):
                made = system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)
                system.ids[address] = made["EmailAddressId"]
            system.connect.associate_email_address_alias(**system._link("grüße@example.com", "desk@example.com"))

            def sent(octets, to, *declared, sender="ann@client.example"):
                return send_declared(system.server.smtp, octets, to, *declared, sender=sender)

            by_smtp = [
                sent(PLAIN, "desk@example.com", SMTPUTF8),
                sent(PLAIN, "grüße@example.com", SMTPUTF8),
                sent(PLAIN, "desk@example.com", SMTPUTF8, sender="ann@bücher.example"),
                sent(PLAIN, "desk@example.com", SMTPUTF8, sender=""),
                sent(PLAIN, "desk@example.com", BINARYMIME),
            ]
            by_lmtp = [
                sent(PLAIN, "info@bücher.example", SMTPUTF8),
                sent(PLAIN, "info@xn--bcher-kva.example", BINARYMIME, SMTPUTF8),
            ]
            for one in (*relay.wait_for(len(by_smtp)), *store.wait_for(len(by_lmtp))):
                assert one.octets.endswith(b"\r\n" + PLAIN)
                assert one.octets.isascii()
            assert {one.sender for one in relay.taken} == {"ann@client.example", "ann@xn--bcher-kva.example", ""}
            assert {one.recipient for one in store.taken} == {"info@xn--bcher-kva.example"}
            for message_id in (*by_smtp, *by_lmtp):
                wait_until(lambda message_id=message_id: status(system, message_id) == {"delivered"})

            refused = {
                sent(UTF8_HEADER, "desk@example.com", SMTPUTF8): "5.6.7",
                sent(PLAIN, "desk@example.com", SMTPUTF8, sender="grün@client.example"): "5.6.7",
                sent(PLAIN, "büro@example.com", SMTPUTF8): "5.6.7",
                sent(PLAIN + b"a\rb\n", "info@bücher.example", BINARYMIME, SMTPUTF8): "5.6.3",
            }
            for message_id, code in refused.items():
                wait_until(lambda message_id=message_id: status(system, message_id) == {"dead"})
                (end,) = [one for one in system.json(f"messages/{message_id}")["trace"] if one["event"] == "dead"]
                assert end["status"] == code


def status(system, message_id):
    """Return the statuses of a message's deliveries over routes."""
    found = system.json(f"messages/{message_id}")["deliveries"]
    return {one["status"] for one in found if one["address"] != "grüße@example.com"}


def send_declared(server, octets, recipient, *declared, sender):
    """Send a message with the given parameters of MAIL, with BDAT if it is declared as binary; return its id."""
    with smtplib.SMTP(*server, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        assert client.docmd(f"MAIL FROM:<{sender}> {' '.join(declared)}")[0] == 250
        assert client.rcpt(recipient)[0] == 250
        if BINARYMIME in declared:
            client.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
            code, text = client.getreply()
        else:
            code, text = client.data(octets)
        assert code == 250
        return ACCEPTED.fullmatch(text)["id"].decode()
