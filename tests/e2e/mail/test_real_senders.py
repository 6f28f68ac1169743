"""Other mail servers and clients, with their default settings, deliver a message without TLS and over STARTTLS."""

import os
import shutil
import smtplib
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.kit.free_ports import free_port
from tests.kit.mail_programs import exim, opensmtpd, postfix
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System
from waypost import testing

pytestmark = pytest.mark.slow

BODY = b"Hello.\r\n.\r\n..\r\n.x\r\n" + b"y" * 900 + b"\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n \r\nBye.\r\n"
MESSAGE = (
    b"From: <ann@client.example>\r\nTo: <help@example.com>\r\nSubject: brought by others\r\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@client.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + BODY
)
SENDER = "ann@client.example"

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests/kit/mail_programs/send.mjs"
NODEMAILER = Path(os.environ.get("WAYPOST_NODEMAILER", ROOT / ".venv" / "senders"))


@pytest.fixture(scope="module")
def tls_system():
    with testing.server("--hostname", "mail.example", "--tls-certificate", "self-signed") as server:
        system = System(server)
        yield system
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log


@pytest.fixture(params=["clear", "starttls"])
def how(request):
    return request.param


@pytest.fixture
def system(request, how):
    return request.getfixturevalue("tls_system" if how == "starttls" else "system")


@pytest.fixture
def directory():
    """A directory that all users can enter, with a path that is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="wp-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def unless(reason):
    return pytest.mark.skipif(reason is not None, reason=str(reason))


def installed(name):
    return unless(None if shutil.which(name) else f"{name} is not installed: apt-get install {name}")


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=PATIENCE, check=False, **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def assert_brought(system, recipient, how):
    """Assert that the message arrived once and unchanged, except for fields that its sender added at the top."""
    (message,) = wait_until(lambda: system.inbox(recipient), pause=0.02)
    assert (message["from"], message["subject"]) == (SENDER, "brought by others")
    raw = system.raw(message["id"], recipient)
    header, _, body = raw.partition(b"\r\n\r\n")
    assert body == BODY
    assert b"Message-ID: <1@client.example>" in header.split(b"\r\n")
    ours = header.split(b"Received: ")[1]
    assert (b" with ESMTPS (" if how == "starttls" else b" with ESMTP id ") in ours, ours


def test_smtplib_delivers_a_message(system, how):
    recipient = system.new_address()
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        if how == "starttls":
            client.starttls(context=unchecked())
        client.sendmail(SENDER, [recipient], MESSAGE, mail_options=["BODY=8BITMIME"])
    assert_brought(system, recipient, how)


def test_a_fast_client_loses_no_bytes_around_the_tls_handshake(tls_system):
    """The client sends its first bytes of TLS, and its first command over TLS, as early as the protocol allows."""
    for _ in range(30):
        with smtplib.SMTP(*tls_system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
            client.starttls(context=unchecked())
            assert client.ehlo()[0] == 250


def unchecked():
    """Return a TLS context that accepts any certificate, because the server's certificate is self-signed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@installed("curl")
def test_curl_delivers_a_message(system, how, tmp_path):
    recipient = system.new_address()
    (tmp_path / "message").write_bytes(MESSAGE)
    host, port = system.server.smtp
    tls = ("--ssl-reqd", "--insecure") if how == "starttls" else ()
    run("curl", "--silent", "--show-error", "--noproxy", "*", f"smtp://{host}:{port}/client.example", *tls,
        "--mail-from", SENDER, "--mail-rcpt", recipient, "--upload-file", tmp_path / "message")  # fmt: skip
    assert_brought(system, recipient, how)


@installed("swaks")
def test_swaks_delivers_a_message(system, how, tmp_path):
    if how == "starttls" and b"requires Net::SSLeay" in run("swaks", "--support"):
        pytest.skip("swaks has no TLS: apt-get install libnet-ssleay-perl")
    recipient = system.new_address()
    (tmp_path / "message").write_bytes(MESSAGE.removesuffix(b"\r\n"))  # swaks ends the last line
    host, port = system.server.smtp
    tls = ("--tls",) if how == "starttls" else ()
    output = run("swaks", "--server", host, "--port", port, "--helo", "client.example", "--from", SENDER,
                 "--to", recipient, "--data", f"@{tmp_path / 'message'}", *tls)  # fmt: skip
    assert (b"TLS started" in output) == (how == "starttls")
    assert_brought(system, recipient, how)


@installed("msmtp")
def test_msmtp_delivers_a_message(system, how, tmp_path):
    recipient = system.new_address()
    host, port = system.server.smtp
    tls = ("--tls=on", "--tls-starttls=on", "--tls-certcheck=off") if how == "starttls" else ("--tls=off",)
    (tmp_path / "empty").touch(mode=0o600)
    run("msmtp", f"--file={tmp_path / 'empty'}", f"--host={host}", f"--port={port}", "--auth=off", f"--from={SENDER}",
        "--domain=client.example", *tls, "--", recipient, input=MESSAGE)  # fmt: skip
    assert_brought(system, recipient, how)


@installed("node")
@unless(None if (NODEMAILER / "node_modules/nodemailer").is_dir() else f"nodemailer is not installed in {NODEMAILER}")
def test_nodemailer_delivers_a_message(system, how, tmp_path):
    recipient = system.new_address()
    (tmp_path / "message").write_bytes(MESSAGE)
    output = run("node", SCRIPT, *system.server.smtp, SENDER, recipient, tmp_path / "message", how,
                 env={**os.environ, "NODEMAILER": str(NODEMAILER)})  # fmt: skip
    assert b"accepted" in output
    assert_brought(system, recipient, how)


@unless(postfix.why_not())
def test_postfix_delivers_a_message(system, how, directory):
    """The test sends the message to the mail server by SMTP, and the mail server relays it to Waypost."""
    recipient = system.new_address()
    host, port = system.server.smtp
    settings = (
        f"mynetworks = 127.0.0.0/8\nlocal_header_rewrite_clients =\nrelayhost = [{host}]:{port}\n"
        f"smtp_tls_security_level = {'encrypt' if how == 'starttls' else 'none'}\nsmtp_tls_loglevel = 1\n"
    )
    with postfix.running(directory / "postfix", free_port(), settings) as instance:
        with smtplib.SMTP("127.0.0.1", instance.port, timeout=PATIENCE) as client:
            client.sendmail(SENDER, [recipient], MESSAGE, mail_options=["BODY=8BITMIME"])
        assert_brought(system, recipient, how)
        assert ("TLS connection established to" in instance.log) == (how == "starttls")


@unless(exim.why_not())
def test_exim_delivers_a_message(system, how, directory):
    """The test gives the message to the command `exim`, and Exim relays it to Waypost."""
    relay_by_exim(system, how, directory / "exim")


def relay_by_exim(system, how, directory, **command):
    recipient = system.new_address()
    exim.send(directory, system.server.smtp, MESSAGE, SENDER, recipient, tls=how == "starttls", **command)
    assert_brought(system, recipient, how)


@unless(opensmtpd.why_not())
def test_opensmtpd_delivers_a_message(system, how, directory):
    """The test sends the message to the mail server by SMTP, and the mail server relays it to Waypost."""
    relay_by_opensmtpd(system, how, directory / "smtpd")


def relay_by_opensmtpd(system, how, directory, **command):
    recipient, port = system.new_address(), free_port()
    with opensmtpd.relaying(directory, system.server.smtp, port, tls=how == "starttls", **command) as process:
        try:
            opensmtpd.wait_until_open(port, process, directory)
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                client.sendmail(SENDER, [recipient], MESSAGE, mail_options=["BODY=8BITMIME"])
            opensmtpd.wait_until_delivered(directory)
        finally:
            process.terminate()
    assert_brought(system, recipient, how)
