"""The certificate of a server has expired: mail still arrives, and the clients decide whether they accept it."""

import smtplib
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.certificates import DAY, Authority
from tests.kit.metrics import scrape
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, logged, waypost
from waypost import testing
from waypost.observe.metrics import families

pytestmark = pytest.mark.slow


def test_a_server_with_an_expired_certificate_receives_mail_and_uses_the_renewed_one(tmp_path):
    authority = Authority("An authority")
    (tmp_path / "tls.pem").write_bytes(authority.issue("127.0.0.1", begins=-9 * DAY, ends=-DAY).both)
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    tls = str(tmp_path / "tls.pem")
    server = testing.Server(tmp_path / "data", "--tls-certificate", tls, "--metrics", "127.0.0.1:0")
    server.start()
    system = System(server)
    address = system.new_address()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    verifying = ssl.create_default_context(cafile=tmp_path / "authority.pem")

    assert deliver(server, address, trusting)[0] == 250  # as most mail servers do on the internet
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        deliver(server, address, verifying)
    wait_until(lambda: [line["reason"] for line in logged(server, "tls_failed")])
    (metrics,) = wait_until(
        lambda: [line["address"] for line in logged(server, "listening") if line["edge"] == "metrics"]
    )
    assert scrape(f"http://{metrics}")[families.CERTIFICATE_EXPIRY, "smtp"] < time.time()  # the alert fires
    found = waypost("doctor", "--data", server.data, WAYPOST_SERVE_TLS_CERTIFICATE=tls)
    assert found.returncode == 1
    assert f"expired on {datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}" in found.stdout

    (tmp_path / "tls.pem").write_bytes(authority.issue("127.0.0.1").both)
    assert deliver(server, address, verifying)[0] == 250
    assert len(system.ids_at(address)) == 2
    system.connect.close()
    assert server.stop() == 0


def deliver(server, address, context):
    with smtplib.SMTP(*server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.starttls(context=context)
        client.ehlo()
        client.mail("a@client.example")
        assert client.rcpt(address)[0] == 250
        return client.data(b"Subject: hello\r\n\r\nHello.\r\n")
