"""Tests that mail from Waypost arrives at other projects' mail servers byte for byte, after the trace lines."""

import os
import smtplib
from functools import partial

import pytest

from foreign import next_hops, roots
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System
from waypost import testing

NEXT_HOPS = {
    "smtp-server by SMTP": (partial(next_hops.smtp_server, protocol="smtp"), next_hops.why_no_package("smtp-server")),
    "smtp-server by LMTP": (partial(next_hops.smtp_server, protocol="lmtp"), next_hops.why_no_package("smtp-server")),
    "Haraka": (next_hops.haraka, next_hops.why_no_package("Haraka")),
    "Exim": (next_hops.exim, roots.why_not("exim")),
    "Dovecot by LMTP": (next_hops.dovecot, roots.why_not("exim")),
}

HEADER = (
    b"From: Ann <ann@client.example>\r\nTo: help@example.com\r\nSubject: on its way\r\nX-Odd:  two  spaces\t\r\n\r\n"
)
MESSAGES = {
    "plain": (HEADER + b"Hello.\r\n", []),
    "dots": (HEADER + b".\r\n..\r\n.x\r\n\r\n", []),
    "8bit": (HEADER + b"Gr\xc3\xbc\xc3\x9fe\r\n", ["BODY=8BITMIME"]),
    "SMTPUTF8 declared on ASCII": (HEADER + b"Hello.\r\n", ["SMTPUTF8"]),
    "long lines": (HEADER + b"y" * 990 + b"\r\n" + b"z" * 998 + b"\r\n", []),
    "large": (HEADER + (b"x" * 76 + b"\r\n") * 40_000, []),
}


@pytest.fixture(scope="module", params=NEXT_HOPS)
def next_hop(request, tmp_path_factory):
    start, why_not = NEXT_HOPS[request.param]
    if why_not:
        pytest.skip(why_not)
    with start(tmp_path_factory.mktemp("foreign") / "next-hop") as started:
        yield started


@pytest.fixture(scope="module")
def system(next_hop, tmp_path_factory):
    """A Waypost server with a route to the next hop."""
    settings = tmp_path_factory.mktemp("foreign") / "waypost.toml"
    settings.write_text(f'[[route]]\nmatch = "*"\nto = "{next_hop.target}"\nkeep = true\n')
    with testing.server("--config", str(settings), "--hostname", "mail.example") as server:
        system = System(server)
        yield system
        system.connect.close()
        assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_arrives_byte_for_byte(system, next_hop, kind):
    message, parameters = MESSAGES[kind]
    recipient = system.new_address()
    before = len(next_hop.kept())
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.sendmail("ann@client.example", [recipient], message, mail_options=parameters)
    (sent,) = system.inbox(recipient)

    wait_until(lambda: len(next_hop.kept()) > before or _failure(system, sent["id"]))
    assert _failure(system, sent["id"]) is None
    (kept,) = [octets for octets in next_hop.kept() if sent["id"].encode() in octets]
    header, _, body = _with_crlf(kept).partition(b"\r\n\r\n")
    expected_header, _, expected_body = message.partition(b"\r\n\r\n")
    assert body == expected_body
    assert header.endswith(expected_header)
    wait_until(lambda: system.json(f"messages/{sent['id']}")["deliveries"][0]["status"] == "delivered")


def test_a_message_to_an_alias_arrives_once_for_the_alias_and_once_for_the_primary(system, next_hop):
    alias, _primary = system.linked_pair()
    message_id = system.deliver(MESSAGES["plain"][0], alias)
    wait_until(lambda: sum(message_id.encode() in octets for octets in next_hop.kept()) >= 2)
    wait_until(lambda: {d["status"] for d in system.json(f"messages/{message_id}")["deliveries"]} == {"delivered"})
    assert sum(message_id.encode() in octets for octets in next_hop.kept()) == 2


def _failure(system, message_id):
    """Return the event with which a delivery was deferred or failed; None if there is no such event."""
    events = [e for e in system.json(f"messages/{message_id}")["trace"] if e["event"] in ("deferred", "dead")]
    return events[-1] if events else None


def _with_crlf(octets):
    """Return the message with CRLF, because a Maildir has the line ends of its system."""
    return octets if b"\r\n" in octets else octets.replace(os.linesep.encode(), b"\r\n")
