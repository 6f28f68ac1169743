"""The notices of a real server: their recipients, their size, and that no notice is lost if the server is killed."""

import smtplib
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.mail.test_sender_authentication import AUTHORIZED, UNAUTHORIZED, send
from tests.kit.patience import wait_until
from tests.kit.peers.dns_server import Zone
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import ACCEPTED, System
from tests.kit.signed_mail import MESSAGE, sign, zone_of
from waypost import testing

SETTINGS = """
[[route]]
match = "never@example.net"
to = "smtp://127.0.0.1:1"
fault = "permfail"

[delivery]
bounces_via = "{via}"
"""


@contextmanager
def a_system(directory, zone, sink):
    settings = directory / "waypost.toml"
    settings.write_text(SETTINGS.format(via=sink.to))
    host, port = zone.address
    options = ["--authentication", "enforce", "--dns", f"{host}:{port}", "--proxy-networks", "127.0.0.1/32"]
    with testing.server("--hostname", "mx.here.example", "--config", str(settings), *options) as server:
        system = System(server)
        wait_until(lambda: '"dns_changed"' in Path(server.log).read_text(encoding="utf-8"))
        for address in ("never@example.net", "open@example.net"):
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)
        yield system
        system.connect.close()


def why_not(system, message_id):
    """Wait until the trace says that the sender got no notice, and return the reason."""

    def found():
        trace = system.json(f"messages/{message_id}")["trace"]
        return [event["because"] for event in trace if event["event"] == "not notified"]

    return wait_until(found)[0]


def test_a_dkim_signature_for_another_sender_of_the_domain_causes_no_notice(tmp_path):
    """A valid DKIM signature of Ann's provider does not prove that another sender in its domain sent the message."""
    with Zone(zone_of()) as zone, Sink() as sink, a_system(tmp_path, zone, sink) as system:
        for recipient in ("never@example.net", "open@example.net"):
            message_id = send(
                system, recipient, sign(), peer=UNAUTHORIZED, sender="innocent@example.com",
                mail_options=["RET=FULL"], rcpt_options=["NOTIFY=SUCCESS,FAILURE"],
            )  # fmt: skip
            assert "nothing proves" in why_not(system, message_id)
        of_ann = send(system, "never@example.net", sign(), peer=UNAUTHORIZED, mail_options=["RET=FULL"])
        (notice,) = sink.wait_for(1)
    assert notice.recipient == "ann@example.com"
    assert of_ann.encode() in notice.octets
    assert b"Subject: Hello" in notice.octets
    assert b"A line." not in notice.octets, "no body goes outside"


def test_an_outside_sender_gets_no_confirmation_even_if_it_is_authenticated(tmp_path):
    with Zone(zone_of()) as zone, Sink() as sink, a_system(tmp_path, zone, sink) as system:
        message_id = send(system, "open@example.net", MESSAGE, peer=AUTHORIZED, rcpt_options=["NOTIFY=SUCCESS"])
        assert "confirm_outside" in why_not(system, message_id)
        assert sink.taken == []


LONG_HEADER = b"Subject: x\r\n" + b"".join(b"X-%03d: %s\r\n" % (number, b"y" * 991) for number in range(255))


def test_confirmations_for_many_recipients_do_not_multiply_a_long_header(new_server):
    new_server.start()
    system = System(new_server)
    sender = system.new_address("me")
    recipients = [system.new_address(f"r{number}") for number in range(20)]
    with smtplib.SMTP(*new_server.smtp, local_hostname="client.example") as client:
        client.ehlo()
        client.mail(sender)
        for recipient in recipients:
            client.rcpt(recipient, ["NOTIFY=SUCCESS"])
        assert client.data(LONG_HEADER + b"\r\nhi\r\n")[0] == 250
    notices = wait_until(lambda: (found := system.inbox(sender))[1:] and found)
    assert [one["subject"] for one in notices] == ["Your message was delivered"] * 2
    assert sum(one["size"] for one in notices) < len(LONG_HEADER) // 5
    system.connect.close()
    assert new_server.stop() == 0


def test_a_notice_that_is_due_survives_a_kill_right_after_the_reply(new_server):
    new_server.start()
    system = System(new_server)
    sender, recipient = system.new_address("me"), system.new_address("r")
    with smtplib.SMTP(*new_server.smtp, local_hostname="client.example") as client:
        client.ehlo()
        client.mail(sender)
        client.rcpt(recipient, ["NOTIFY=SUCCESS"])
        code, text = client.data(b"Subject: hello\r\n\r\nHello.\r\n")
        new_server.kill()
        client.close()
    assert code == 250
    system.connect.close()
    new_server.start()
    again = System(new_server)
    (notice,) = wait_until(lambda: again.inbox(sender))
    assert ACCEPTED.fullmatch(text)["id"] in again.raw(notice["id"], sender)
    again.connect.close()
    assert new_server.stop() == 0
