"""The complete list of events that may be logged and counted.

Every event has typed fields and no free text. Events contain no email addresses, subjects, bodies or secrets. Only the
trace, which is for the mail's owner, contains email addresses and subjects. Each part of the server is given an `Emit`
function, and calls it to report an event.
"""

from collections.abc import Callable

from msgspec import Struct


class Listening(Struct, frozen=True, kw_only=True):
    """The server has begun to listen on an address. `edge` is the name of the option that sets the address, such as
    `smtp`.
    """

    edge: str
    address: str


class Reopened(Struct, frozen=True, kw_only=True):
    """The server has received SIGHUP, has opened its log file again and reloaded its certificate files (if any), and
    keeps running.
    """


class SettingsReloaded(Struct, frozen=True, kw_only=True):
    """After SIGHUP, the server uses new values of the named settings."""

    settings: str
    """The names of the settings and tables, as in the settings file, separated by commas."""


class RestartNeeded(Struct, frozen=True, kw_only=True):
    """At SIGHUP, the named settings have other values than at the start. The server uses these values after a
    restart.
    """

    settings: str


class SettingsRefused(Struct, frozen=True, kw_only=True):
    """At SIGHUP, there is a mistake in the settings. The server keeps all settings as they were. `where` names the
    file, the line and the key. `waypost serve --check` prints what is wrong.
    """

    where: str


class LogFileRefused(Struct, frozen=True, kw_only=True):
    """The server cannot open its log file again, and continues with the file that it had. Correct the cause, and send
    SIGHUP again.
    """

    file: str
    reason: str


class WorkerStarted(Struct, frozen=True, kw_only=True):
    """The supervisor has started a worker process, which does not serve clients yet. `worker` is its number."""

    worker: int
    pid: int


class WorkerEnded(Struct, frozen=True, kw_only=True):
    """A worker process has ended although the server is not stopping. The supervisor replaces the worker process."""

    worker: int
    pid: int
    reason: str


class WorkerNotStarted(Struct, frozen=True, kw_only=True):
    """A worker process has ended before it could serve clients, or could not be started. If the server has already been
    ready, the supervisor tries again later.
    """

    worker: int
    reason: str


class Stopping(Struct, frozen=True, kw_only=True):
    """The server is stopping: it accepts no new connections, and finishes the work in progress."""

    signal: str
    """The name of the signal that stops the server, or another reason in words."""


class Stopped(Struct, frozen=True, kw_only=True):
    """The server has finished its work, and all data is on disk."""


class MessageAccepted(Struct, frozen=True, kw_only=True):
    """The server has accepted a message: the message is on disk, and the client gets the reply 250."""

    id: str
    peer: str
    size: int
    recipients: int


class MessageRefused(Struct, frozen=True, kw_only=True):
    """The server has refused a message at MAIL, or at the end of its data. The client remains responsible for the
    message.
    """

    peer: str
    reply: str
    verdicts: str = ""
    """The results of SPF, DKIM and DMARC, if they are the reason for the refusal."""


class RecipientRefused(Struct, frozen=True, kw_only=True):
    """The server has refused a recipient at RCPT."""

    peer: str
    reply: str


class FaultInjected(Struct, frozen=True, kw_only=True):
    """A fault rule or a magic recipient has changed how the server treats a client. The server is for tests
    (`--testing yes`). `stage` is the stage of the session, and `rule` is the id of the rule.
    """

    peer: str
    stage: str
    action: str
    rule: str


class SessionClosed(Struct, frozen=True, kw_only=True):
    """The server has ended an SMTP session because the client broke the protocol or was idle for too long. `reply` is
    the server's last reply.
    """

    peer: str
    reply: str
    last_error: str = ""


class ConnectionsRefused(Struct, frozen=True, kw_only=True):
    """The server has refused connections because a limit on connections was reached. `count` is the number of refused
    connections in the last few seconds. `peer` is the client of the last refused connection.
    """

    reply: str
    count: int
    peer: str


class ConnectionsLimited(Struct, frozen=True, kw_only=True):
    """The operating system does not allow this process to open enough files for the connection limits in the settings.
    The event's fields contain the lower limits that apply instead. Raise the limit on open files (`ulimit -n`,
    `LimitNOFILE=`), or reduce the connection limits.
    """

    connections: int
    """The maximum number of connections from mail clients."""
    http_connections: int
    files: int
    """The maximum number of files that this process may have open."""


class HttpConnectionClosed(Struct, frozen=True, kw_only=True):
    """The server has closed an HTTP connection because the client took too long. `reason` names the step that took too
    long.
    """

    peer: str
    reason: str


class TlsFailed(Struct, frozen=True, kw_only=True):
    """A TLS handshake with a client has failed. `reason` is the cause. `protocol` is `smtp` for a mail client, which
    still has its mail, and `http` for a client of the API or the console. After ten such events within ten seconds, one
    event stands for all others: `count` is their number, and `peer` and `reason` are those of the last one.
    """

    peer: str
    reason: str
    protocol: str = "smtp"
    count: int = 1


class CertificateRefused(Struct, frozen=True, kw_only=True):
    """The certificate or key has changed, but the changed files cannot be used. The server continues to use the
    previous certificate. Correct the files.
    """

    reason: str


class CertificateNotValid(Struct, frozen=True, kw_only=True):
    """The server uses a certificate that has expired, or that is not valid yet (`reason`). Clients refuse such a
    certificate. Replace the `file`.
    """

    file: str
    reason: str


class QueueHeld(Struct, frozen=True, kw_only=True):
    """The server was started with `--hold-queue yes`: it attempts no queued delivery and sends no notice. To send the
    queued mail, restart it without this setting.
    """


class ProxyHeaderRefused(Struct, frozen=True, kw_only=True):
    """The server has closed a connection from a proxy network because the connection did not begin with a valid PROXY
    header.
    """

    peer: str
    reason: str


class DnsChanged(Struct, frozen=True, kw_only=True):
    """The DNS has stopped working, the DNS is working again, or the process that checks senders cannot start. `reason`
    gives the cause. While the DNS does not work, the server checks no senders. If `--authentication` is `enforce`, the
    server also defers all mail from untrusted clients.
    """

    works: bool
    reason: str = ""
    """The reason why the server checks no senders; empty while the DNS works."""


class _Attempted(Struct, frozen=True, kw_only=True):
    """The fields of all events about delivery attempts."""

    id: str
    destination: str
    """The destination without its path, in the format of `log_destination`."""
    attempt: int
    stage: str
    code: int
    trouble: str


class Delivered(_Attempted, frozen=True, kw_only=True):
    """The destination has accepted a message."""


class DeliveryDeferred(_Attempted, frozen=True, kw_only=True):
    """A delivery attempt has failed, and the server will try again. The message's trace contains the reason and the
    time of the next attempt.
    """


class GivenUp(_Attempted, frozen=True, kw_only=True):
    """A delivery has become a dead letter, because the destination refused it permanently or the time allowed for
    attempts has run out. If the time ran out while the delivery waited, `stage` is empty and `trouble` is `expired`.
    The dead letter can be redriven.
    """


class DeadLettersRemoved(Struct, frozen=True, kw_only=True):
    """Dead letters have been removed, with their messages unless these have other deliveries. `reason` is `expired` if
    they were older than `--dead-letter-retention`, or `request`.
    """

    count: int
    reason: str


class LeaseLost(Struct, frozen=True, kw_only=True):
    """The server could not renew its lease on a delivery in time, so the delivery will be attempted again. The result
    of this server's attempt is not recorded. If this attempt has already sent the message, the destination will receive
    the message twice, with the same delivery id.
    """

    id: str
    destination: str


class Damaged(Struct, frozen=True, kw_only=True):
    """The stored bytes of a message are damaged: the disk or another program has changed them. The server neither sends
    nor returns them, and tries queued deliveries again later. Find all damaged messages with `waypost verify`, and
    restore them from a backup.
    """

    where: str
    """The part of the server that has read the bytes."""
    id: str
    """The id in the answer to the client; for a delivery, its id."""
    message_id: str


class RouteUnreachable(Struct, frozen=True, kw_only=True):
    """The destination of a route is currently unreachable. Mail for this destination waits in the queue."""

    route: str
    """The route's `log_name`."""
    destination: str
    """The destination without its path, in the format of `log_destination`."""
    reason: str
    """The reason. It contains no text from the peer, because such text could contain an email address."""


class DataDirectoryShared(Struct, frozen=True, kw_only=True):
    """The group of the data directory can write to it, so members of the group can replace its files. This permission
    is necessary for container volumes.
    """

    directory: str
    mode: str
    """The permission bits of the data directory, in octal, as for `chmod`."""
    group: int
    """The numeric id of the data directory's group."""


class DataDirectoryReplaceable(Struct, frozen=True, kw_only=True):
    """A directory above the data directory belongs to another user, or its group can write to it. The owner, or
    the members of the group, can replace the data directory with another directory.
    """

    above: str
    owner: int
    """The numeric id of the user who owns the directory."""
    mode: str
    """The permission bits of the directory, in octal, as for `chmod`."""
    group: int
    """The numeric id of the directory's group."""


class FileMadePrivate(Struct, frozen=True, kw_only=True):
    """Other users had access to a file in the data directory, for example after a restore. The server has removed this
    access, so that only the file's owner can access the file.
    """

    file: str
    mode: str
    """The permission bits of the file before the change, in octal."""


class FileExposed(Struct, frozen=True, kw_only=True):
    """Other users can access a file that should be private: a file in the data directory, or the certificate's private
    key. The server cannot or must not change the mode of this file.
    """

    file: str
    mode: str
    """The permission bits of the file, in octal."""


class DiskFull(Struct, frozen=True, kw_only=True):
    """The disk's free space is below the reserve. The server refuses mail until more space is free. The sizes
    `free` and `reserve` are in bytes.
    """

    free: int
    reserve: int


class DiskFreed(Struct, frozen=True, kw_only=True):
    """The disk has enough free space again, and the server accepts mail."""

    free: int
    reserve: int


class ClockDiffers(Struct, frozen=True, kw_only=True):
    """The clock of this server differs so much from the clock of the database that servers may attempt deliveries
    twice. `ahead` is the difference in seconds; negative if this clock is behind. Synchronize the clocks of all servers
    and of the database (NTP).
    """

    ahead: float


class ClockAgrees(Struct, frozen=True, kw_only=True):
    """The clock of this server agrees with the clock of the database again. `ahead` is the difference in seconds."""

    ahead: float


class StoreFailed(Struct, frozen=True, kw_only=True):
    """The store has failed. The caller gets a temporary failure with the id of the incident."""

    where: str
    id: str
    cause: BaseException


class Failed(Struct, frozen=True, kw_only=True):
    """An internal error (a bug in Waypost) has occurred. The caller gets only the id of the incident."""

    where: str
    id: str
    cause: BaseException


class SpansLost(Struct, frozen=True, kw_only=True):
    """The server could not send spans to the collector of traces (`--otel-traces`). `count` spans were lost since the
    last such event. There is at most one event in a minute. Mail and calls are not affected.
    """

    count: int
    reason: str


class ProbeFailed(Struct, frozen=True, kw_only=True):
    """A self-probe (`--probe-alias`) has failed, and the one before had succeeded or had failed for another reason.
    `id` is the id of the message, if the server accepted it; its trace shows where it is.
    """

    result: str
    reason: str
    id: str


class ProbeSucceeded(Struct, frozen=True, kw_only=True):
    """A self-probe has succeeded: the first one, or the first after one that had failed."""

    id: str
    milliseconds: int
    """How long the probe took."""


class LinesDropped(Struct, frozen=True, kw_only=True):
    """The server could not write the log for some time. `count` lines are missing from the log, or are incomplete."""

    count: int


Event = (
    LinesDropped
    | SpansLost
    | ProbeFailed
    | ProbeSucceeded
    | Listening
    | Reopened
    | SettingsReloaded
    | RestartNeeded
    | SettingsRefused
    | LogFileRefused
    | WorkerStarted
    | WorkerEnded
    | WorkerNotStarted
    | Stopping
    | Stopped
    | MessageAccepted
    | MessageRefused
    | FaultInjected
    | RecipientRefused
    | SessionClosed
    | ConnectionsRefused
    | ConnectionsLimited
    | HttpConnectionClosed
    | TlsFailed
    | CertificateRefused
    | CertificateNotValid
    | QueueHeld
    | ProxyHeaderRefused
    | DnsChanged
    | Delivered
    | DeliveryDeferred
    | GivenUp
    | DeadLettersRemoved
    | LeaseLost
    | Damaged
    | RouteUnreachable
    | DataDirectoryShared
    | DataDirectoryReplaceable
    | FileMadePrivate
    | FileExposed
    | DiskFull
    | DiskFreed
    | ClockDiffers
    | ClockAgrees
    | StoreFailed
    | Failed
)


WARNINGS = frozenset(
    {
        WorkerEnded,
        WorkerNotStarted,
        LinesDropped,
        SpansLost,
        ProbeFailed,
        RestartNeeded,
        SettingsRefused,
        LogFileRefused,
        ConnectionsLimited,
        CertificateRefused,
        ClockDiffers,
        CertificateNotValid,
        DataDirectoryReplaceable,
        DataDirectoryShared,
        Damaged,
        DnsChanged,
        DiskFull,
        FileExposed,
        FileMadePrivate,
        GivenUp,
        LeaseLost,
        QueueHeld,
        RouteUnreachable,
    }
)
"""The events that are logged as warnings: they need the operator's attention, although the server itself has not
failed.
"""


class AlreadyReported(Exception):
    """Raised to abort a response that can neither be completed nor be replaced by another response. The cause has
    already been logged, or is not a failure.
    """


Emit = Callable[[Event], None]
