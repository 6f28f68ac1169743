"""A web page cannot send mail through a browser's HTTP request to the mail port, with a mail dialogue in its body."""

import contextlib
import socket

import pytest

from tests.kit.certificates import authority, client_context, in_files
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, logged
from waypost import testing

MAIL = (
    b"%s x\r\nMAIL FROM:<ceo@bank.example>\r\nRCPT TO:<%s>\r\nDATA\r\n"
    b"From: ceo@bank.example\r\nSubject: from a web page\r\n\r\nHello.\r\n.\r\nQUIT\r\n"
)

FIREFOX = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1025\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\nOrigin: http://evil.example\r\n"
    b"Connection: keep-alive\r\nReferer: http://evil.example/\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: no-cors\r\n"
    b"Sec-Fetch-Site: cross-site\r\nPriority: u=4\r\n\r\n"
)
CHROME = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1025\r\nConnection: keep-alive\r\nContent-Length: %d\r\n"
    b'sec-ch-ua-platform: "Linux"\r\nUser-Agent: Mozilla/5.0\r\nContent-Type: text/plain;charset=UTF-8\r\n'
    b"Accept: */*\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"
    b"Sec-Fetch-Dest: empty\r\nReferer: https://evil.example/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\r\n"
)
FORM = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1025\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: %d\r\n\r\n"
)
GREETING, REFUSED = b"220 mail.example ", b"521 5.5.1 This is not SMTP\r\n"


@pytest.fixture(scope="module")
def system():
    """A server with a listener for SMTP, SMTPS and LMTP."""
    good = authority().issue()
    with in_files(certificate=good.pem, key=good.key_pem()) as here:
        options = ["--tls-certificate", here / "certificate.pem", "--tls-key", here / "key.pem"]
        options += ["--smtps", "127.0.0.1:0", "--lmtp", "127.0.0.1:0", "--hostname", "mail.example"]
        with testing.server(*map(str, options)) as server:
            system = System(server)
            yield system
            system.connect.close()


@contextlib.contextmanager
def connected(system, listener):
    host, _, port = getattr(system.server.run, listener).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if listener == "smtps":
            with client_context().wrap_socket(client, server_hostname="mail.example") as inside:
                yield inside
        else:
            yield client


def replies_to(client):
    """Return everything that the server sends, even if it closes the connection before it has read all input."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while octets := client.recv(65536):
            received += octets
    return received


@pytest.mark.parametrize("listener", ["smtp", "smtps", "lmtp"])
@pytest.mark.parametrize("request_of", [FIREFOX, CHROME, FORM], ids=["firefox", "chrome", "form"])
def test_a_web_page_cannot_send_mail(system, listener, request_of):
    address = system.new_address()
    body = MAIL % (b"LHLO" if listener == "lmtp" else b"EHLO", address.encode())
    before = len(logged(system.server, "session_closed"))
    with connected(system, listener) as client:
        client.sendall(request_of % len(body) + body)
        replies = replies_to(client)
    assert replies.startswith(GREETING)
    assert replies.endswith(REFUSED)
    assert replies.count(b"\r\n") == 2
    wait_until(lambda: len(logged(system.server, "session_closed")) > before)
    assert logged(system.server, "session_closed")[-1]["reply"] == "521 5.5.1 This is not SMTP"
    assert system.inbox(address) == []


def test_a_web_page_cannot_send_mail_with_a_slow_request(system):
    address = system.new_address()
    body = MAIL % (b"EHLO", address.encode())
    with connected(system, "smtp") as client, contextlib.suppress(ConnectionError):
        for octet in FIREFOX % len(body) + body:
            client.sendall(bytes([octet]))
        replies = replies_to(client)
        assert (replies[: len(GREETING)], replies[-len(REFUSED) :]) == (GREETING, REFUSED)
    assert system.inbox(address) == []


def test_a_tls_handshake_on_the_smtp_port_is_refused_immediately(system):
    with connected(system, "smtp") as client:
        client.sendall(b"\x16\x03")
        assert replies_to(client).endswith(REFUSED)
