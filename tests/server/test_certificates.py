"""The self-signed certificate for development: its names, its validity, and when the server replaces it."""

import asyncio
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from waypost.config.sources import from_options
from waypost.host import certificates
from waypost.net.certificates import TlsFiles, load
from waypost.server import opening
from waypost.server import service as services

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def made(tmp_path):
    """The files of a certificate for mail.example and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for path, octets in zip(
        (certificate, key), certificates.self_signed("mail.example", datetime.now(UTC)), strict=True
    ):
        path.write_bytes(octets)
    return certificate, key


def test_the_certificate_names_the_host_and_this_machine():
    found = x509.load_pem_x509_certificate(certificates.self_signed("mail.example", NOW)[0])
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example", "localhost"]
    addresses = [ipaddress.ip_address(address) for address in ("127.0.0.1", "::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses


def test_the_certificate_is_valid_from_one_hour_ago_for_397_days():
    found = x509.load_pem_x509_certificate(certificates.self_signed("mail.example", NOW)[0])
    assert found.not_valid_before_utc == NOW - timedelta(hours=1)
    assert found.not_valid_after_utc == NOW + timedelta(days=397)


def test_no_two_certificates_are_the_same():
    first, second = (certificates.self_signed("mail.example", NOW) for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]
    numbers = {x509.load_pem_x509_certificate(pem).serial_number for pem, _ in (first, second)}
    assert len(numbers) == 2


def pair(directory, hostname="mail.example"):
    """Write a certificate and its key to files, and return their paths."""
    files = directory / "one.pem", directory / "one-key.pem"
    for file, octets in zip(files, certificates.self_signed(hostname, NOW), strict=True):
        file.write_bytes(octets)
    return files


def test_a_certificate_that_is_not_valid_yet_is_not_used(tmp_path):
    certificate, key = pair(tmp_path)
    assert certificates.is_good(certificate, key, "mail.example", NOW)
    assert not certificates.is_good(certificate, key, "mail.example", NOW - 10 * DAY)


@pytest.mark.parametrize("hostname", ["a", "mail.example", "x" * 63 + ".example", ".".join(["x" * 50] * 5)[:253]])
def test_a_certificate_can_be_made_for_every_host_name(hostname, tmp_path):
    assert certificates.is_good(*pair(tmp_path, hostname), hostname, NOW)


@pytest.mark.parametrize(
    ("hostname", "days", "is_good"),
    [
        ("mail.example", 0, True),
        ("localhost", 0, True),
        ("mail.example", 366, True),
        ("mail.example", 368, False),
        ("mail.example", 1_000, False),
        ("other.example", 0, False),
        ("MAIL.example.org", 0, False),
        ("example", 0, False),
    ],
)
def test_the_certificate_is_used_again_if_it_names_the_host_and_does_not_expire_soon(hostname, days, is_good, tmp_path):
    assert certificates.is_good(*pair(tmp_path), hostname, NOW + days * DAY) is is_good


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"\0\xff", b"-----BEGIN CERTIFICATE-----\nYQ==\n"])
def test_a_file_that_is_not_a_certificate_is_not_used(content, tmp_path):
    for broken in (0, 1):
        files = pair(tmp_path)
        if content is None:
            files[broken].unlink()
        else:
            files[broken].write_bytes(content)
        assert certificates.is_good(*files, "mail.example", NOW) is False


def test_a_key_without_a_certificate_is_not_used(made):
    assert certificates.is_good(made[1], made[1], "mail.example", NOW) is False


def test_a_certificate_with_the_key_of_another_certificate_is_not_used(made, tmp_path):
    assert certificates.is_good(made[0], pair(tmp_path)[1], "mail.example", NOW) is False


@pytest.mark.parametrize("name", ["mail.example", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_certificate_can_connect(made, name):
    server, client = load(TlsFiles(*made)), ssl.create_default_context(cafile=made[0])
    shake_hands(server, client, name)


def test_a_client_that_trusts_the_certificate_and_verifies_strictly_can_connect(made):
    """Python verifies strictly by default since version 3.13."""
    server, client = load(TlsFiles(*made)), ssl.create_default_context(cafile=made[0])
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    shake_hands(server, client, "mail.example")


def test_a_client_that_expects_another_name_cannot_connect(made):
    server, client = load(TlsFiles(*made)), ssl.create_default_context(cafile=made[0])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, client, "other.example")


def test_a_start_makes_a_key_that_only_its_owner_can_read_and_the_next_start_uses_it_again(tmp_path):
    first, mode = start(tmp_path)
    assert mode == 0o600
    assert start(tmp_path)[0] == first


def test_a_start_with_another_host_name_makes_a_new_certificate(tmp_path):
    first, _ = start(tmp_path)
    assert start(tmp_path, hostname="other.example")[0] != first


def test_a_start_replaces_a_damaged_certificate(tmp_path):
    start(tmp_path)
    (tmp_path / "data" / "certificate.pem").write_bytes(b"garbage")
    assert start(tmp_path)[0].startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_start_makes_a_new_certificate_if_the_key_is_missing(tmp_path):
    start(tmp_path)
    (tmp_path / "data" / "certificate-key.pem").unlink()
    start(tmp_path)


def test_the_server_does_not_start_with_a_certificate_that_cannot_be_read(tmp_path):
    settings = from_options(
        data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", tls_certificate=str(tmp_path / "no.pem")
    )
    with pytest.raises(opening.CannotStart, match=r"no\.pem cannot be read: No such file"):
        asyncio.run(services.Service(settings).start())


def test_there_is_no_warning_about_a_readable_key_for_a_certificate_file_without_a_key(tmp_path):
    start(tmp_path)
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes((tmp_path / "data" / "certificate.pem").read_bytes())
    certificate.chmod(0o644)
    settings = from_options(
        data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", tls_certificate=str(certificate)
    )
    warnings = []
    with pytest.raises(opening.CannotStart):
        asyncio.run(services.Service(settings, warn=warnings.append).start())
    assert [sentence for sentence in warnings if str(certificate) in sentence] == []


def start(tmp_path, hostname="mail.example"):
    """Start and stop a service. Return its certificate, and the permission bits of the key file."""
    settings = from_options(
        data=str(tmp_path / "data"),
        http="127.0.0.1:0",
        smtp="127.0.0.1:0",
        authentication="off",
        hostname=hostname,
        tls_certificate="self-signed",
    )

    async def run():
        service = services.Service(settings)
        await service.start()
        await service.stop()

    asyncio.run(run())
    key = tmp_path / "data" / "certificate-key.pem"
    return (tmp_path / "data" / "certificate.pem").read_bytes(), key.stat().st_mode & 0o777


def shake_hands(server, client, name):
    """Make a TLS handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert all(side.version() for side in sides)
