"""Loads the TLS certificates of a service, for mail and for HTTPS: from files, or made by the server itself."""

import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from waypost.config.settings import Settings
from waypost.config.types import SELF_SIGNED
from waypost.host.clock import now
from waypost.net import certificates as tls
from waypost.net.certificates import Certificates, TlsFiles
from waypost.observe import events
from waypost.server import start_warnings
from waypost.server.assembly.common import Common
from waypost.server.http.tls import PROTOCOLS
from waypost.server.opening import CannotStart


def of_mail(common: Common, warn: Callable[[str], None]) -> Certificates | None:
    """Load the certificate for mail clients. Return None if the settings name none.

    The function calls `warn` with warnings for the person who starts the server. Raises `CannotStart`.
    """
    settings = common.settings
    if settings.tls_certificate is None:
        return None
    files = mail_files(settings) or _own_files(common, settings.tls_clients)
    return _loaded(files, common, warn)


def of_http(common: Common, warn: Callable[[str], None]) -> Certificates | None:
    """Load the certificate for HTTPS. Return None if the server has no address with HTTPS. As `of_mail` otherwise."""
    settings = common.settings
    if not settings.https:
        return None
    return _loaded(http_files(settings) or _own_files(common), common, warn, protocols=PROTOCOLS)


def mail_files(settings: Settings) -> TlsFiles | None:
    """Return the files of the certificate for mail clients; None if the settings name none, or if the server makes its
    own certificate.
    """
    certificate = settings.tls_certificate
    if certificate is None or certificate == SELF_SIGNED:
        return None
    return TlsFiles(certificate, settings.tls_key or certificate, settings.tls_clients)


def http_files(settings: Settings) -> TlsFiles | None:
    """Return the files of the certificate for HTTPS; None if the server has no address with HTTPS, or if it makes its
    own certificate. By default, the certificate is the one for mail.
    """
    if not settings.https or settings.real_https_certificate == SELF_SIGNED:
        return None
    if certificate := settings.https_certificate:
        return TlsFiles(certificate, settings.https_key or certificate, key_option="--https-key")
    mail = mail_files(settings)
    return TlsFiles(mail.certificate, mail.key) if mail else None


def report_validity(certificates: Certificates, emit: events.Emit, warn: Callable[[str], None]) -> None:
    """Log and warn if clients refuse the certificate because of its dates. The function reads the file."""
    facts = certificates.facts()
    reason = start_warnings.why_not_valid(facts.not_before, facts.not_after, now()) if facts else ""
    if reason:
        file = str(certificates.file)
        emit(events.CertificateNotValid(file=file, reason=reason))
        warn(start_warnings.of_certificate(file, reason))


def _own_files(common: Common, client_authority: Path | None = None) -> TlsFiles:
    """Return the files of the server's own certificate. Make a new certificate if there is none that is good."""
    from waypost.host import certificates as self_made  # noqa: PLC0415 - it needs memory, and few servers use it

    directory, hostname = common.directory, common.settings.real_hostname
    files = TlsFiles(directory.certificate, directory.certificate_key, client_authority)
    if not self_made.is_good(files.certificate, files.key, hostname, now()):
        directory.write_certificate(*self_made.self_signed(hostname, now()))
    return files


def _loaded(
    files: TlsFiles, common: Common, warn: Callable[[str], None], *, protocols: tuple[str, ...] = ()
) -> Certificates:
    def failed(error: tls.BadCertificate) -> None:
        common.emit(events.CertificateRefused(reason=str(error)))

    try:
        found = Certificates(files, failed=failed, protocols=protocols)
    except tls.BadCertificate as error:
        raise CannotStart(str(error)) from error
    if files.key != common.directory.certificate_key:
        _warn_of_readable(files.key, common.emit, warn)  # only now is the file known to contain a key
    report_validity(found, common.emit, warn)
    return found


def _warn_of_readable(key: Path, emit: events.Emit, warn: Callable[[str], None]) -> None:
    """Warn if every user of the machine can access the certificate's private key."""
    with suppress(OSError):  # an unreadable key is reported when it is loaded
        mode = stat.S_IMODE(key.stat().st_mode)
        if warning := start_warnings.of_key_file(str(key), mode):
            emit(events.FileExposed(file=str(key), mode=f"{mode:04o}"))
            warn(warning)
