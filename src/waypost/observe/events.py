"""The closed list of events that may be logged and counted.

Every event has typed fields and no free text. Nothing here holds an address, a subject, a body or a secret: the trace,
which is for the owner of the mail, has those. An edge gets an `Emit` and calls it.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """An edge listens at this address."""

    edge: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened:
    """The server got SIGHUP, has read its certificate files again, if it has any, and keeps running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The server accepts no new connections, and finishes its work."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The server has finished its work, and everything is on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAccepted:
    """A message was accepted: it is on disk, and the sender got 250."""

    id: str
    peer: str
    size: int
    recipients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRefused:
    """A message was refused at MAIL, or at its end; it stays with the sender."""

    peer: str
    reply: str
    verdicts: str = ""
    """The results of SPF, DKIM and DMARC, if they are the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRefused:
    """A recipient was refused at RCPT."""

    peer: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """The server ended an SMTP session that broke the protocol or was silent for too long; with its last reply."""

    peer: str
    reply: str
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsRefused:
    """The number of connections that were refused in the last seconds, because there were too many; and the client of
    the last one.
    """

    reply: str
    count: int
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsLimited:
    """The system lets this process open too few files for the connections in the settings. The connections that are
    possible now, of mail clients and of HTTP clients. Raise the limit of open files (`ulimit -n`, `LimitNOFILE=`), or
    set fewer connections.
    """

    connections: int
    """Of mail clients."""
    http_connections: int
    files: int
    """The files that this process may have open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConnectionClosed:
    """The server ended an HTTP connection because its client took too long, with the step that it was at."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFailed:
    """A TLS handshake with a client failed, with the reason. The sender still has the mail, if any."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRefused:
    """The certificate or key has changed and cannot be used. The previous one stays in use; fix the files."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHeaderRefused:
    """A connection from a proxy network had no valid PROXY header. It was cut."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsChanged:
    """The DNS works, or does not work, or the checking process cannot start: `reason` says which. While it does not
    work, no sender is checked, and all mail of untrusted clients is deferred with `enforce`.
    """

    works: bool
    reason: str = ""
    """Why senders are not checked; empty while the DNS works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempted:
    """The fields of an event about an attempt."""

    id: str
    destination: str
    """As by `domain.routes.log_destination`."""
    attempt: int
    stage: str
    code: int
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(_Attempted):
    """The destination of a delivery has accepted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDeferred(_Attempted):
    """An attempt failed, and there will be another one. The trace of the message says when, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp(_Attempted):
    """A delivery is a dead letter: it was refused for good, or its time for attempts has passed. It can be redriven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost:
    """A lease could not be renewed in time, so the delivery is attempted again. The result of this server's attempt is
    not recorded: if it had sent the message, the destination gets it twice, with the same delivery id.
    """

    id: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteUnreachable:
    """The destination of a route cannot be reached now. Mail for it waits."""

    route: str
    """Its `log_name`."""
    destination: str
    """As by `domain.routes.log_destination`."""
    reason: str
    """In Waypost's words: a peer's could name an email address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectoryShared:
    """The group of the data directory may write to it, so its members can replace its files. Volumes of containers need
    that.
    """

    directory: str
    mode: str
    """Octal, as `chmod` takes it."""
    group: int
    """Its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectoryReplaceable:
    """A directory above the data directory belongs to another user, or its group may write to it. That user, or the
    members of that group, can put another directory in the place of the data directory.
    """

    above: str
    owner: int
    """The id of the user it belongs to."""
    mode: str
    """Octal, as `chmod` takes it."""
    group: int
    """The id of its group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMadePrivate:
    """Other users could use a file of the data directory, as after a restore. Now only its owner can."""

    file: str
    mode: str
    """What it was, octal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileExposed:
    """Other users can use a file that should be private, and the server cannot change its mode, or must not: a file of
    the data directory, or the key of the certificate.
    """

    file: str
    mode: str
    """Octal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull:
    """The disk has less free than the reserve, in bytes: the server refuses mail until there is more."""

    free: int
    reserve: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFreed:
    """There is room on the disk again, and the server accepts mail."""

    free: int
    reserve: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """The store failed. The caller got a temporary failure with this id."""

    where: str
    id: str
    cause: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An internal error (bug). The caller got only this id."""

    where: str
    id: str
    cause: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesDropped:
    """The log could not be written for a while. This many lines, or parts of them, are missing."""

    count: int


Event = (
    LinesDropped
    | Listening
    | Reopened
    | Stopping
    | Stopped
    | MessageAccepted
    | MessageRefused
    | RecipientRefused
    | SessionClosed
    | ConnectionsRefused
    | ConnectionsLimited
    | HttpConnectionClosed
    | TlsFailed
    | CertificateRefused
    | ProxyHeaderRefused
    | DnsChanged
    | Delivered
    | DeliveryDeferred
    | GivenUp
    | LeaseLost
    | RouteUnreachable
    | DataDirectoryShared
    | DataDirectoryReplaceable
    | FileMadePrivate
    | FileExposed
    | DiskFull
    | DiskFreed
    | StoreFailed
    | Failed
)


WARNINGS = frozenset(
    {
        LinesDropped,
        ConnectionsLimited,
        CertificateRefused,
        DataDirectoryReplaceable,
        DataDirectoryShared,
        DnsChanged,
        DiskFull,
        FileExposed,
        FileMadePrivate,
        GivenUp,
        LeaseLost,
        RouteUnreachable,
    }
)
"""Events that need attention, though nothing has failed."""


class AlreadyTold(Exception):
    """Ends a response that can be neither completed nor replaced. Its cause has been emitted, or is not a failure."""


Emit = Callable[[Event], None]
