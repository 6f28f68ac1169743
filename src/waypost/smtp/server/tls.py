"""TLS of the receiving edge: loads the certificate, also when it changes, and explains why a handshake failed."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class BadCertificate(Exception):
    """The certificate, its key or the authority cannot be used. The message names the file and says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of the certificate and its key, and of the authorities of clients if clients must have certificates
    too.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None

    @property
    def all(self) -> list[Path]:
        """Every file."""
        return [self.certificate, self.key, *([self.client_authority] if self.client_authority else [])]


class Certificates:
    """The context for handshakes, which is reloaded when a file has changed, so that renewals need no restart."""

    def __init__(self, files: TlsFiles, *, failed: Callable[[BadCertificate], None]) -> None:
        """Raises `BadCertificate`. `failed` is called if the new files cannot be used; the old context remains in
        use.
        """
        self._files = files
        self._failed = failed
        self._seen = self._look()
        self._context = load(files)

    @property
    def context(self) -> ssl.SSLContext:
        """The context to use now."""
        if self._look() != self._seen:
            self.reload()
        return self._context

    def reload(self) -> None:
        """Reload the context, whether or not a file has changed."""
        self._seen = self._look()
        try:
            self._context = load(self._files)
        except BadCertificate as error:
            self._failed(error)

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(path) for path in self._files.all]


def load(files: TlsFiles) -> ssl.SSLContext:
    """A context for servers: TLS 1.2 at least, and no renegotiation. Raises `BadCertificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    _refuse_what_is_none(files)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        if "KEY_VALUES_MISMATCH" in str(error):
            raise BadCertificate(f"{files.key} is not the key of the certificate in {files.certificate}.") from error
        raise BadCertificate(f"{files.certificate} and {files.key} cannot be used for TLS: {_said(error)}.") from error
    if files.client_authority:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_authority)
        except (OSError, ValueError) as error:
            raise BadCertificate(f"{files.client_authority} cannot be used: {_said(error)}.") from error
        if context.cert_store_stats()["crl"]:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _refuse_what_is_none(files: TlsFiles) -> None:
    """Raise `BadCertificate` for a file that is missing, or lacks what it is for."""
    for path in files.all:
        what, mark = (
            ("private key", b"PRIVATE KEY-----") if path == files.key else ("certificate", b" CERTIFICATE-----")
        )
        try:
            octets = path.read_bytes()
        except OSError as error:
            raise BadCertificate(f"{path} cannot be read: {error.strerror}.") from error
        if mark not in octets:
            hint = "; name its file with --tls-key" if path == files.certificate == files.key else ""
            raise BadCertificate(f"{path} has no {what} in PEM form{hint}.")
        if path == files.certificate and b" CERTIFICATE-----" not in octets:
            raise BadCertificate(f"{path} has no certificate in PEM form.")


def why(error: BaseException) -> str:
    """The reason why a handshake failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was not accepted: {error.verify_message}"
    reason = getattr(error, "reason", None) or ""
    for part, words in _REASONS.items():
        if part in reason:
            return words
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return "the handshake was not finished in time"
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return "the client went away in the middle of the handshake"
    return f"TLS failed: {reason or type(error).__name__}"


_REASONS = {
    "UNSUPPORTED_PROTOCOL": "the client offers only versions of TLS before 1.2",
    "VERSION_TOO_LOW": "the client offers only versions of TLS before 1.2",
    "WRONG_VERSION_NUMBER": "the client did not begin a TLS handshake",
    "HTTP_REQUEST": "the client did not begin a TLS handshake, but spoke HTTP",
    "NO_SHARED_CIPHER": "the client offers no cipher that we have",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate, and has to",
    "ALERT_UNKNOWN_CA": "the client does not know the authority that signed our certificate",
    "ALERT_CERTIFICATE_EXPIRED": "our certificate has expired, says the client",
    "ALERT_CERTIFICATE_REVOKED": "our certificate was revoked, says the client",
    "ALERT_CERTIFICATE_UNKNOWN": "the client did not accept our certificate",
    "ALERT_BAD_CERTIFICATE": "the client did not accept our certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "the client did not accept our certificate",
    "ALERT_PROTOCOL_VERSION": "the client does not accept our versions of TLS",
    "ALERT_HANDSHAKE_FAILURE": "the client found nothing that both sides can do",
}
"""Reasons of OpenSSL, and what they mean."""


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is here to give a password")


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
