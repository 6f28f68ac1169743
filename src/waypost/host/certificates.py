"""Makes and checks the self-signed certificate for development. When the server starts, it replaces a certificate that
expires soon.
"""

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = timedelta(days=397)
"""How long a new certificate is valid."""

RENEWED_BEFORE = timedelta(days=30)
"""If the certificate expires within this time when a server starts, the server makes a new certificate."""

_EARLIER = timedelta(hours=1)
"""A new certificate's validity begins this long before its creation, because clients' clocks may be slow."""


def self_signed(hostname: str, now: datetime) -> tuple[bytes, bytes]:
    """Make a certificate for a host name and for this machine. Return the certificate and its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(hostname), x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def is_good(certificate: Path, key: Path, hostname: str, now: datetime) -> bool:
    """Whether a certificate matches its key, is valid for the host name, and does not expire soon."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    is_ours = hostname in names.get_values_for_type(x509.DNSName) and private.public_key() == found.public_key()
    # A certificate that is not valid yet was made while the clock was ahead.
    return is_ours and found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEWED_BEFORE
