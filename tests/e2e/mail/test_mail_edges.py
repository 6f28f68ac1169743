"""Mail that real servers receive over TLS, by LMTP, through a load balancer, and with every SMTP extension."""

import contextlib
import json
import random
import re
import smtplib
import socket
import sqlite3
import ssl
import struct
import time

import pytest

from tests.kit.certificates import authority, client_context, in_files
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import ACCEPTED, System
from waypost import testing
from waypost.smtp.server.proxy import HEAD, SIGNATURE

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
LARGE = b"Subject: large\r\n\r\n" + random.Random(7).randbytes(3_000_000)


@pytest.fixture(scope="module")
def open_system():
    """A server with a self-signed certificate, and listeners for SMTP, SMTPS and LMTP."""
    options = ("--tls-certificate", "self-signed", "--smtps", "127.0.0.1:0", "--lmtp", "127.0.0.1:0")
    with testing.server("--hostname", "mail.example", *options) as server:
        system = System(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


def trusting(system) -> ssl.SSLContext:
    """Return a TLS context that trusts the server's self-signed certificate."""
    return ssl.create_default_context(cafile=system.server.data / "certificate.pem")


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def deliver(client, message, address, *, sender="a@client.example", mail=()):
    """Send a message over a connected client, and return its id."""
    client.ehlo_or_helo_if_needed()
    assert client.mail(sender, mail)[0] == 250
    assert client.rcpt(address)[0] == 250
    code, text = client.data(message)
    assert code == 250
    return ACCEPTED.fullmatch(text)["id"].decode()


def accepted(system, message_id):
    """Return the first event of a message's trace."""
    return system.json(f"messages/{message_id}")["trace"][0]


def protocol_of(system, message_id, address) -> str:
    """Return the protocol and the TLS parameters that the Received line of a message names."""
    copy = system.raw(message_id, address).decode("latin-1")
    return re.search(r"with (\S+(?: \([^\r]*\)\r\n\t)?) ?id \S+\r\n\tfor", copy)[1].strip()


def test_the_trace_and_the_received_line_show_the_protocol_of_each_listener(open_system):
    system, server = open_system, open_system.server
    context = trusting(system)
    alias, primary = system.linked_pair()
    with smtplib.SMTP(*server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.starttls(context=context)
        client.ehlo()
        version, cipher = client.sock.version(), client.sock.cipher()[0]
        upgraded = deliver(client, HELLO, alias)
    with smtplib.SMTP_SSL(
        *host_and_port(server.run.smtps), "client.example", timeout=PATIENCE, context=context
    ) as client:
        implicit = deliver(client, HELLO, alias)
    with smtplib.LMTP(*host_and_port(server.run.lmtp), "client.example") as client:
        handed_over = deliver(client, HELLO, alias)
    with smtplib.SMTP(*server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        clear = deliver(client, HELLO, alias)
    for message_id in (upgraded, implicit):
        assert accepted(system, message_id)["tls"] == f"{version} {cipher}"
        for address in (alias, primary):
            assert protocol_of(system, message_id, address) == f"ESMTPS ({version} {cipher})"
    assert "tls" not in accepted(system, handed_over)
    assert protocol_of(system, handed_over, primary) == "LMTP"
    assert protocol_of(system, clear, alias) == "ESMTP"
    assert system.ids_at(primary) == [clear, handed_over, implicit, upgraded]


def test_mail_reaches_an_address_by_each_of_its_equivalent_spellings(open_system):
    system = open_system
    unicode = system.new_address("grüße").replace("@example.com", "@bücher.example")
    system.ids |= {
        address: system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)[
            "EmailAddressId"
        ]
        for address in (unicode, "info@xn--mnchen-3ya.example")
    }
    plain = system.new_address()
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        mail = ["SMTPUTF8"]
        sent = [
            (unicode.replace("bücher", "xn--bcher-kva"), unicode),
            (unicode.replace("bücher", "BÜCHER"), unicode),
            ("info@münchen.example", "info@xn--mnchen-3ya.example"),
            ('"{}"@{}'.format(*plain.split("@")), plain),
            (plain.upper(), plain),
        ]
        for recipient, owner in sent:
            message_id = deliver(client, HELLO, recipient, sender="", mail=mail)
            assert system.ids_at(owner, limit=1) == [message_id]
            assert system.inbox(owner, limit=1)[0]["to"] == recipient
            assert accepted(system, message_id)["protocol"] == "UTF8SMTP"
        client.mail("a@client.example")
        assert client.rcpt("support@[127.0.0.1]") == (550, b"5.1.1 No such address here")
        assert client.docmd(f"RCPT TO:<@relay.example:{plain}>")[0] == 553
        assert client.docmd(f"RCPT TO:<{unicode}>")[0] == 553  # MAIL did not say SMTPUTF8
        assert client.rcpt(plain)[0] == 250


def test_dsn_parameters_and_binary_mail_are_stored_unchanged(open_system):
    system = open_system
    address = system.new_address()
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        mail = ["BODY=BINARYMIME", "RET=HDRS", "ENVID=QQ+2B1"]
        assert client.mail("a@client.example", mail)[0] == 250
        assert client.rcpt(address, ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;a+2Bb@client.example"])[0] == 250
        for start in range(0, len(LARGE), 700_001):
            chunk = LARGE[start : start + 700_001]
            client.send(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if start + 700_001 >= len(LARGE) else b"") + chunk)
            code, text = client.getreply()
            assert code == 250
    message_id = ACCEPTED.fullmatch(text)["id"].decode()
    assert system.raw(message_id, address).endswith(b"\r\n" + LARGE)
    assert system.inbox(address)[0]["size"] == len(LARGE)
    with contextlib.closing(database(system.server)) as connection:
        (dsn,) = connection.execute("SELECT dsn FROM messages WHERE id = ?", [message_id]).fetchone()
        assert connection.execute("SELECT count(*) FROM messages_begun").fetchone() == (0,)
    stored = json.dumps(json.loads(dsn))
    for expected in ("HDRS", "QQ+1", "SUCCESS", "DELAY", "rfc822;a+b@client.example"):
        assert f'"{expected}"' in stored


def test_limits_and_required_tls_apply_to_each_client_behind_a_load_balancer():
    good = authority().issue()
    with in_files(certificate=good.pem, key=good.key_pem()) as here:
        options = [
            "--tls-certificate",
            here / "certificate.pem",
            "--tls-key",
            here / "key.pem",
            "--tls-required",
            "yes",
        ]
        options += ["--proxy-networks", "127.0.0.0/8", "--smtp-connections-each", "2", "--greeting-delay", "1s"]
        with testing.server("--hostname", "mail.example", *map(str, options)) as server:
            system = System(server)
            address = system.new_address()
            with contextlib.ExitStack() as stack:
                began = time.monotonic()
                early = stack.enter_context(behind(server, "192.0.2.9", says=b"EHLO client.example\r\n"))
                assert early.makefile("rb").read().startswith(b"554 5.5.1 Data received before")
                inside = [stack.enter_context(behind(server, "192.0.2.7")) for _ in range(2)]
                for _ in range(2):
                    refused = stack.enter_context(behind(server, "192.0.2.7"))
                    assert refused.makefile("rb").readline().startswith(b"421 4.7.0 Too many connections from")
                other = stack.enter_context(behind(server, "2001:db8::7"))
                for each in (*inside, other):
                    each.settimeout(PATIENCE)
                with Proxied(other) as client:
                    assert time.monotonic() - began > 1
                    client.ehlo("client.example")
                    assert client.mail("a@client.example")[0] == 530
                    client.starttls(context=client_context())
                    client.ehlo("client.example")
                    message_id = deliver(client, HELLO, address)
            assert accepted(system, message_id)["peer"] == "2001:db8::7"
            assert b"Received: from client.example ([IPv6:2001:db8::7])\r\n" in system.raw(message_id, address)
            system.connect.close()


def test_the_pieces_of_a_large_message_are_purged_after_a_kill_during_its_reception(new_server):
    new_server.start()
    system = System(new_server)
    address = system.new_address()
    with smtplib.SMTP(*new_server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        client.mail("a@client.example")
        client.rcpt(address)
        client.docmd("DATA")
        client.send(b"Subject: large\r\n\r\n" + b"Hello.\r\n" * 100_000)
        with contextlib.closing(database(new_server)) as connection:
            wait_until(lambda: count(connection, "message_bodies") >= 2)
        new_server.kill()
        client.close()
    system.connect.close()
    new_server.start()
    system = System(new_server)
    assert system.inbox(address) == []
    with contextlib.closing(database(new_server)) as connection:
        assert count(connection, "messages") == 0
        wait_until(lambda: count(connection, "messages_begun") == count(connection, "message_bodies") == 0)
    system.connect.close()
    assert new_server.stop() == 0


def test_the_error_for_an_invalid_option_at_the_start_names_the_option(tmp_path):
    for options in (["--smtps", "127.0.0.1:0"], ["--proxy-networks", "10.0.0.1/8"], ["--greeting-delay", "2"]):
        server = testing.Server(tmp_path / "data", *options)
        with pytest.raises(testing.ServerDied, match=options[0]):
            server.start()


class Proxied(smtplib.SMTP):
    """The client of the standard library, on a socket that is already connected."""

    def __init__(self, connected):
        self._connected = connected
        super().__init__("127.0.0.1", 1, local_hostname="client.example", timeout=PATIENCE)
        self._host = "mail.example"

    def _get_socket(self, *_):
        return self._connected


def behind(server, client: str, *, says=b"") -> socket.socket:
    """Connect as a load balancer, with a PROXY header for `client`; `says` is sent in the same packet as the header."""
    family, packed = (
        (0x21, socket.inet_pton(socket.AF_INET6, client)) if ":" in client else (0x11, socket.inet_aton(client))
    )
    addresses = packed + bytes(len(packed)) + struct.pack("!HH", 4711, 25)
    connected = socket.create_connection(server.smtp, timeout=PATIENCE)
    connected.sendall(HEAD.pack(SIGNATURE, 0x21, family, len(addresses)) + addresses + says)
    return connected


def database(server, mode="ro"):
    """Open the SQLite database of a server."""
    return sqlite3.connect(f"{(server.data / 'waypost.sqlite3').absolute().as_uri()}?mode={mode}", uri=True)


def count(connection, table) -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
