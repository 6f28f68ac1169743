"""Certificate authorities, certificates, revocation lists and TLS clients for tests, created on demand."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kit.servers.smtp_server import Hearing
from waypost.net.certificates import Certificates, TlsFiles

PEM = serialization.Encoding.PEM
DAY = dt.timedelta(days=1)
NAME = "mail.example"


class Issued:
    """A certificate and its key."""

    def __init__(self, certificate, key):
        self.x509, self.key = certificate, key

    @property
    def pem(self) -> bytes:
        """The certificate without its key, as PEM."""
        return self.x509.public_bytes(PEM)

    def key_pem(self, password: bytes | None = None) -> bytes:
        """Return the key as PEM, encrypted if there is a password."""
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)

    @property
    def both(self) -> bytes:
        """The certificate and its key, as PEM, for a single file."""
        return self.pem + self.key_pem()


NO_USE = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Authority(Issued):
    """A certificate authority, which signs and revokes certificates."""

    def __init__(self, name: str):
        key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, key, _now() - DAY, _now() + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # Since Python 3.13, clients verify certificates strictly (RFC 5280 section 4.2.1).
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        usage = dict.fromkeys(NO_USE, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
        super().__init__(builder.sign(key, hashes.SHA256()), key)

    def issue(self, name: str = NAME, *, begins=-DAY, ends=10 * DAY) -> Issued:
        """Return a certificate for this name and 127.0.0.1. `begins` and `ends` are relative to the current time."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = _builder(_name(name), self._name, key, _now() + begins, _now() + ends)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def revocation_list(self, *revoked: Issued) -> bytes:
        """Return a revocation list with these certificates, as PEM."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(_now() - DAY).next_update(_now() + DAY)
        for issued in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(issued.x509.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(_now() - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key, begins, ends):
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(begins).not_valid_after(ends)


@cache
def authority(name: str = "an authority") -> Authority:
    """Return the authority with this name, which all tests share."""
    return Authority(name)


@cache
def issued(_which: str = "first") -> Issued:
    """Return a valid certificate of the first authority, which all tests share. Each argument gives another one."""
    return authority().issue()


@contextmanager
def in_files(**contents: bytes):
    """Write files to a temporary directory, and yield the directory. `certificate=…` becomes `certificate.pem`."""
    with tempfile.TemporaryDirectory(prefix="waypost-tls-") as directory:
        here = Path(directory)
        for name, content in contents.items():
            (here / f"{name}.pem").write_bytes(content)
        yield here


class TlsSetup:
    """The files of a certificate, and the server's `Certificates` object that reads them."""

    def __init__(self, here: Path, *, has_clients: bool):
        self.file = here / "certificate.pem"
        self.clients = here / "clients.pem" if has_clients else None
        self.failed = []
        self.certificates = Certificates(TlsFiles(self.file, self.file, self.clients), failed=self.failed.append)

    def replace(self, content: bytes):
        """Replace the file of the certificate atomically, as a renewal does."""
        new = self.file.with_suffix(".new")
        new.write_bytes(content)
        new.replace(self.file)


@contextmanager
def tls_setup(certificate: Issued | None = None, *, clients: bytes = b""):
    """Write a certificate, and the authorities of clients if there are any, to files, and yield a `TlsSetup`."""
    contents = {"certificate": (certificate or issued()).both} | ({"clients": clients} if clients else {})
    with in_files(**contents) as here:
        yield TlsSetup(here, has_clients=bool(clients))


def client_context(trusted: Issued | None = None, own: Issued | None = None) -> ssl.SSLContext:
    """Return a TLS context for a client that trusts `trusted` (by default the first authority).

    The client presents the certificate `own`, if there is one.
    """
    context = ssl.create_default_context(cadata=(trusted or authority()).pem.decode())
    if own:
        with in_files(own=own.both) as here:
            context.load_cert_chain(here / "own.pem")
    return context


class TlsClient(Hearing):
    """A client that sends and receives lines over TLS, and controls the contents of each packet."""

    def __init__(self, reader, writer, context=None, *, name=NAME):
        self.reader, self.writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._heard = b""

    def first_flight(self) -> bytes:
        """Return the ClientHello without sending it."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    async def shake_hands(self, *, and_say: bytes = b""):
        """Make the handshake. `and_say` is sent in the same packet as the end of the handshake."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._exchange()
            except ssl.SSLError:
                self._flush()  # sends the alert
                raise
        if and_say:
            self.tls.write(and_say)
        self._flush()

    def send(self, octets: bytes):
        """Send bytes, in one piece if they are at most 1 MiB."""
        for start in range(0, len(octets), 1 << 20):
            self.tls.write(octets[start : start + (1 << 20)])
        self._flush()

    def say(self, *lines: str):
        """Send lines."""
        self.send("".join(f"{line}\r\n" for line in lines).encode())

    async def hear(self) -> str:
        """Return the next line, which may be incomplete or empty if the server has closed the connection."""
        while b"\n" not in self._heard and await self._read():
            pass
        line, end, self._heard = self._heard.partition(b"\n")
        return (line + end).decode().rstrip("\r\n")

    async def hear_all(self) -> list[str]:
        """Return all lines until the server closes the connection."""
        while await self._read():
            pass
        heard, self._heard = self._heard, b""
        return heard.decode().splitlines()

    def close_our_side(self):
        """Send close_notify, but continue to read."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    async def _read(self) -> bool:
        """Read more bytes; return False if the server has closed the connection."""
        while True:
            try:
                octets = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not await self._exchange():
                    return False
            except ssl.SSLZeroReturnError:
                return False
            else:
                self._heard += octets
                return bool(octets)

    def _flush(self):
        octets = self._outgoing.read()
        if octets:
            self.writer.write(octets)

    async def _exchange(self) -> bool:
        self._flush()
        try:
            octets = await self.reader.read(1 << 16)
        except ConnectionError:
            octets = b""
        if octets:
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()
        return bool(octets)


def client_hello(version: int, *ciphers: int) -> bytes:
    """Return the ClientHello of an old client that supports at most this TLS version, and these ciphers."""
    suites = b"".join(cipher.to_bytes(2) for cipher in ciphers)
    body = version.to_bytes(2) + bytes(32) + b"\0" + len(suites).to_bytes(2) + suites + b"\x01\0"
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake


async def until_cut(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the other side closes or resets the connection."""
    octets = b""
    try:
        while part := await reader.read(1 << 16):
            octets += part
    except ConnectionError:
        pass
    return octets
