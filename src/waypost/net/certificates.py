"""TLS for servers: loads the certificate, reloads changed files, and explains why a handshake failed."""

import ssl
import stat
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct


class BadCertificate(Exception):
    """Raised if the certificate, its key or the certificate authority cannot be used.

    The exception's message gives the name of the file and the reason.
    """


class TlsFiles(Struct, frozen=True):
    """The files with the server's certificate and key.

    `client_authority` is the file with the certificate authorities for client certificates; None if clients need no
    certificate. `key_option` is the option that names the file with the key, for messages.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None
    key_option: str = "--tls-key"

    @property
    def all(self) -> list[Path]:
        """The paths of all TLS files."""
        return [self.certificate, self.key, *([self.client_authority] if self.client_authority else [])]


class CertificateFacts(Struct, frozen=True):
    """What clients see in a certificate."""

    not_before: datetime
    not_after: datetime
    names: Sequence[str] = ()
    """The host names and IP addresses for which the certificate is valid."""

    def host_for(self, *wanted: str) -> str:
        """Return the first of the host names `wanted` that the certificate is valid for; or else the first name of the
        certificate that is no pattern; or else the first wanted name.
        """
        for each in wanted:
            if any(covers(name, each) for name in self.names):
                return each
        return next((name for name in self.names if not name.startswith("*.")), wanted[0])


def covers(pattern: str, hostname: str) -> bool:
    """Return whether a name in a certificate is valid for a host name (RFC 6125 section 6.4.3)."""
    pattern, hostname = pattern.lower(), hostname.lower()
    if pattern.startswith("*."):
        return hostname.partition(".")[2] == pattern[2:]
    return pattern == hostname


class Certificates:
    """The SSL context for handshakes. It is reloaded when a file changes, so that the server need not be restarted when
    a certificate is renewed.
    """

    def __init__(
        self, files: TlsFiles, *, failed: Callable[[BadCertificate], None], protocols: Sequence[str] = ()
    ) -> None:
        """Load the files. Raises `BadCertificate`.

        `failed` is called if a file changes later and cannot be used. The previous context then remains in use.
        `protocols` are the names of the protocols that the server offers (ALPN, RFC 7301); none if it offers no choice.
        """
        self._files = files
        self._failed = failed
        self._protocols = protocols
        self._seen = self._file_states()
        self._context = self._load()

    @property
    def context(self) -> ssl.SSLContext:
        """The current SSL context, reloaded if a file has changed."""
        if self._file_states() != self._seen:
            self.reload()
        return self._context

    @property
    def file(self) -> Path:
        """The file with the certificate."""
        return self._files.certificate

    def facts(self) -> CertificateFacts | None:
        """Return what clients see in the certificate; None if its file cannot be read now.

        The method reads the file, so do not call it on the event loop of a running server.
        """
        from cryptography import x509  # noqa: PLC0415 - it needs memory, and many servers have no certificate

        try:
            found = x509.load_pem_x509_certificate(self._files.certificate.read_bytes())
        except (OSError, ValueError):
            return None
        try:
            extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = extension.value.get_values_for_type(x509.DNSName)
            addresses = extension.value.get_values_for_type(x509.IPAddress)
        except (x509.ExtensionNotFound, ValueError):
            names, addresses = [], []
        return CertificateFacts(
            found.not_valid_before_utc, found.not_valid_after_utc, names=[*names, *map(str, addresses)]
        )

    def reload(self) -> None:
        """Reload the SSL context, whether or not a file has changed."""
        self._seen = self._file_states()
        try:
            self._context = self._load()
        except BadCertificate as error:
            self._failed(error)

    def _load(self) -> ssl.SSLContext:
        context = load(self._files)
        if self._protocols:
            context.set_alpn_protocols(list(self._protocols))
        return context

    def _file_states(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(path) for path in self._files.all]


def load(files: TlsFiles) -> ssl.SSLContext:
    """Return an SSL context for a server that requires TLS 1.2 or later and refuses renegotiation.

    Raises `BadCertificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    _check_contents(files)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        if "KEY_VALUES_MISMATCH" in str(error):
            raise BadCertificate(f"{files.key} is not the key of the certificate in {files.certificate}.") from error
        reason = _reason(error)
        raise BadCertificate(f"{files.certificate} and {files.key} cannot be used for TLS: {reason}.") from error
    if files.client_authority:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_authority)
        except (OSError, ValueError) as error:
            raise BadCertificate(f"{files.client_authority} cannot be used: {_reason(error)}.") from error
        if context.cert_store_stats()["crl"]:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _check_contents(files: TlsFiles) -> None:
    """Raise `BadCertificate` for a file that cannot be read, or that lacks the required certificate or key."""
    for path in files.all:
        what, mark = (
            ("private key", b"PRIVATE KEY-----") if path == files.key else ("certificate", b" CERTIFICATE-----")
        )
        try:
            # The event loop reads the files, and would wait for a named pipe without end.
            is_file = stat.S_ISREG(path.stat().st_mode)
            octets = path.read_bytes() if is_file else b""
        except OSError as error:
            raise BadCertificate(f"{path} cannot be read: {error.strerror}.") from error
        if not is_file:
            raise BadCertificate(f"{path} is not a regular file.")
        if mark not in octets:
            hint = f"; specify the key's file with {files.key_option}" if path == files.certificate == files.key else ""
            raise BadCertificate(f"{path} has no {what} in PEM format{hint}.")
        if path == files.certificate and b" CERTIFICATE-----" not in octets:
            raise BadCertificate(f"{path} has no certificate in PEM format.")


def why(error: BaseException) -> str:
    """Return a readable explanation of why a TLS handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server did not accept the client's certificate: {error.verify_message}"
    reason = getattr(error, "reason", None) or ""
    for part, words in _REASONS.items():
        if part in reason:
            return words
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return "the client did not finish the handshake in time"
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return "the client disconnected during the handshake"
    return f"TLS failed: {reason or type(error).__name__}"


_REASONS = {
    "UNSUPPORTED_PROTOCOL": "the client offers only TLS versions before 1.2",
    "VERSION_TOO_LOW": "the client offers only TLS versions before 1.2",
    "WRONG_VERSION_NUMBER": "the client did not begin a TLS handshake",
    "HTTP_REQUEST": "the client sent an HTTP request instead of a TLS handshake",
    "NO_SHARED_CIPHER": "the client offers no cipher that the server supports",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client did not send a certificate, but the server requires one",
    "ALERT_UNKNOWN_CA": "the client does not know the authority that signed the server's certificate",
    "ALERT_CERTIFICATE_EXPIRED": "the client reported that the server's certificate has expired",
    "ALERT_CERTIFICATE_REVOKED": "the client reported that the server's certificate is revoked",
    "ALERT_CERTIFICATE_UNKNOWN": "the client did not accept the server's certificate",
    "ALERT_BAD_CERTIFICATE": "the client did not accept the server's certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "the client did not accept the server's certificate",
    "ALERT_PROTOCOL_VERSION": "the client does not support the server's TLS versions",
    "ALERT_HANDSHAKE_FAILURE": "the client found no TLS parameters that both sides support",
}
"""Descriptions of OpenSSL's error reasons, keyed by a part of the reason's name."""


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    raise ValueError("the key is encrypted, and the server has no password for it")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
