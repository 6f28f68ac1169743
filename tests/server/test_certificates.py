"""The self-signed certificate for development: whom it names, how long it is good, and when a new one is made."""

import asyncio
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from waypost.config.sources import from_options
from waypost.host import certificates
from waypost.server import opening
from waypost.server import service as services
from waypost.smtp.server.tls import TlsFiles, load

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def made(tmp_path):
    """A certificate for mail.example, in files."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for path, octets in zip(
        (certificate, key), certificates.self_signed("mail.example", datetime.now(UTC)), strict=True
    ):
        path.write_bytes(octets)
    return certificate, key


def test_it_names_the_host_and_this_machine():
    found = x509.load_pem_x509_certificate(certificates.self_signed("mail.example", NOW)[0])
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example", "localhost"]
    addresses = [ipaddress.ip_address(address) for address in ("127.0.0.1", "::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses


def test_it_is_good_for_a_year_and_a_month_and_an_hour_ago_already():
    found = x509.load_pem_x509_certificate(certificates.self_signed("mail.example", NOW)[0])
    assert found.not_valid_before_utc == NOW - timedelta(hours=1)
    assert found.not_valid_after_utc == NOW + timedelta(days=397)


def test_no_two_are_the_same():
    first, second = (certificates.self_signed("mail.example", NOW) for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]
    numbers = {x509.load_pem_x509_certificate(pem).serial_number for pem, _ in (first, second)}
    assert len(numbers) == 2


def pair(directory, hostname="mail.example"):
    """A certificate and its key, in files."""
    files = directory / "one.pem", directory / "one-key.pem"
    for file, octets in zip(files, certificates.self_signed(hostname, NOW), strict=True):
        file.write_bytes(octets)
    return files


def test_one_that_was_made_while_the_clock_was_ahead_is_made_anew_when_it_goes_back(tmp_path):
    certificate, key = pair(tmp_path)
    assert certificates.is_good(certificate, key, "mail.example", NOW)
    assert not certificates.is_good(certificate, key, "mail.example", NOW - 10 * DAY)


@pytest.mark.parametrize("hostname", ["a", "mail.example", "x" * 63 + ".example", ".".join(["x" * 50] * 5)[:253]])
def test_there_is_one_for_every_host_name(hostname, tmp_path):
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
def test_it_is_used_again_while_it_names_the_host_and_does_not_expire_soon(hostname, days, is_good, tmp_path):
    assert certificates.is_good(*pair(tmp_path), hostname, NOW + days * DAY) is is_good


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"\0\xff", b"-----BEGIN CERTIFICATE-----\nYQ==\n"])
def test_what_is_no_certificate_is_not_good(content, tmp_path):
    for broken in (0, 1):
        files = pair(tmp_path)
        if content is None:
            files[broken].unlink()
        else:
            files[broken].write_bytes(content)
        assert certificates.is_good(*files, "mail.example", NOW) is False


def test_its_key_alone_is_not_good(made):
    assert certificates.is_good(made[1], made[1], "mail.example", NOW) is False


def test_the_key_of_another_is_not_good(made, tmp_path):
    assert certificates.is_good(made[0], pair(tmp_path)[1], "mail.example", NOW) is False


@pytest.mark.parametrize("name", ["mail.example", "localhost", "127.0.0.1"])
def test_who_trusts_it_can_speak_to_us(made, name):
    server, client = load(TlsFiles(*made)), ssl.create_default_context(cafile=made[0])
    shake_hands(server, client, name)


def test_who_trusts_it_and_looks_strictly_can_speak_to_us(made):
    """As Python does from 3.13 on."""
    server, client = load(TlsFiles(*made)), ssl.create_default_context(cafile=made[0])
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    shake_hands(server, client, "mail.example")


def test_who_wants_another_name_cannot(made):
    server, client = load(TlsFiles(*made)), ssl.create_default_context(cafile=made[0])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, client, "other.example")


def test_a_start_makes_it_for_the_owners_eyes_and_the_next_one_uses_it_again(tmp_path):
    first, mode = start(tmp_path)
    assert mode == 0o600
    assert start(tmp_path)[0] == first


def test_a_start_under_another_name_makes_a_new_one(tmp_path):
    first, _ = start(tmp_path)
    assert start(tmp_path, hostname="other.example")[0] != first


def test_a_start_makes_a_new_one_in_place_of_garbage(tmp_path):
    start(tmp_path)
    (tmp_path / "data" / "certificate.pem").write_bytes(b"garbage")
    assert start(tmp_path)[0].startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_start_makes_a_new_one_when_the_key_is_lost(tmp_path):
    start(tmp_path)
    (tmp_path / "data" / "certificate-key.pem").unlink()
    start(tmp_path)


def test_files_that_cannot_be_used_end_the_start_with_a_sentence(tmp_path):
    settings = from_options(
        data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", tls_certificate=str(tmp_path / "no.pem")
    )
    with pytest.raises(opening.CannotStart, match=r"no\.pem cannot be read: No such file"):
        asyncio.run(services.Service(settings).start())


def test_a_certificate_file_without_a_key_is_not_called_a_key_that_others_can_read(tmp_path):
    start(tmp_path)
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes((tmp_path / "data" / "certificate.pem").read_bytes())
    certificate.chmod(0o644)
    settings = from_options(
        data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", tls_certificate=str(certificate)
    )
    told = []
    with pytest.raises(opening.CannotStart):
        asyncio.run(services.Service(settings, warn=told.append).start())
    assert [sentence for sentence in told if str(certificate) in sentence] == []


def start(tmp_path, hostname="mail.example"):
    """Start and stop a service; returns its certificate, and who may read the key."""
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
    """Make a handshake in memory."""
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
