"""The checks of `waypost doctor`. Each check is a pure function of what was read, and returns findings."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from waypost.delivery.queue.leases import CLOCKS_MAY_DIFFER
from waypost.net.certificates import covers
from waypost.server import start_warnings

EXPIRES_SOON = timedelta(days=14)
"""A certificate that expires within this time is a warning, because an automatic renewal has probably failed."""

CLOCK_DIFFERENCE = 2.0
"""If the clocks of this machine and of the database differ by more than so many seconds, there is a warning, because
synchronized clocks do not. The alert WaypostClockDrifts has the same bound.
"""

FEW_BYTES = 4
"""If less than the reserve times this number is free on the disk, there is a warning."""


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """The server works, but the operator should look at this."""
    PROBLEM = "problem"
    """The server cannot start, refuses or delays mail, or could lose mail."""


class Finding(Struct, frozen=True):
    """The result of a check."""

    check: str
    """The subject of the check, such as `ports`."""
    level: Level
    text: str
    """A sentence with the finding, and with a remedy if there is a problem."""


class Port(Struct, frozen=True):
    """An address of the server."""

    setting: str
    """The setting with the address, such as `smtp`."""
    address: str
    error: str
    """Why the running server does not answer at the address, or why it cannot be used; empty if all is well."""


class Certificate(Struct, frozen=True):
    """A certificate of the chain in the certificate file."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: Sequence[str] = ()
    """The host names for which the certificate is valid."""


def ports(found: Sequence[Port], *, is_running: bool) -> Iterator[Finding]:
    """Check the addresses on which a server listens, or would listen."""
    for port in found:
        where = f"{port.address} ({port.setting})"
        if not port.error:
            yield Finding("ports", Level.OK, f"{where} {'answers' if is_running else 'is free'}.")
        elif is_running:
            yield Finding("ports", Level.PROBLEM, f"The running server does not answer at {where}: {port.error}.")
        else:
            yield Finding("ports", Level.PROBLEM, port.error)


def disk(path: str, *, free: int, reserve: int, free_files: int | None) -> Iterator[Finding]:
    """Check the free space, in bytes, on the disk of the data directory. `free_files` is the number of files that can
    be created; None if the file system has no limit.
    """
    sizes = f"{_size(free)} are free on the disk of {path}, and the reserve (--disk-reserve) is {_size(reserve)}"
    if free < reserve:
        yield Finding("disk", Level.PROBLEM, f"{sizes}: the server refuses mail. Free some space.")
    elif free < reserve * FEW_BYTES:
        yield Finding("disk", Level.WARNING, f"{sizes}. The server soon refuses mail.")
    else:
        yield Finding("disk", Level.OK, f"{sizes}.")
    if free_files is not None and free_files < 1000:
        yield Finding("disk", Level.PROBLEM, f"Only {free_files} more files can be created on the disk of {path}.")


def data_directory(problem: str, *, exists: bool, path: str) -> Iterator[Finding]:
    """Check the permissions of the data directory. `problem` is a sentence, or empty."""
    if problem:
        yield Finding("permissions", Level.PROBLEM, problem)
    elif exists:
        yield Finding("permissions", Level.OK, f"Other users cannot change {path}.")
    else:
        yield Finding("permissions", Level.WARNING, f"{path} does not exist. The server makes it when it first starts.")


def master_key(*, has_previous: bool, path: str) -> Iterator[Finding]:
    """Check whether a rotation of the master key is complete. `path` is the place of the previous key."""
    if has_previous:
        text = f"A rotation of the master key is not complete: the previous key is still in {path}."
        yield Finding("keys", Level.WARNING, f"{text} Run: waypost keys rotate-master")


def key_file(path: str, mode: int) -> Iterator[Finding]:
    """Check the permission bits of the file with the certificate's private key."""
    if warning := start_warnings.of_key_file(path, mode):
        yield Finding("permissions", Level.WARNING, warning)


def clock(*, is_synchronized: bool | None, ahead_of_database: float | None) -> Iterator[Finding]:
    """Check the clock. `is_synchronized` is the state of the system's clock; None if it is not known.
    `ahead_of_database` is the number of seconds by which this clock is ahead of the clock of the database server; None
    without such a server.
    """
    if ahead_of_database is not None and abs(ahead_of_database) > CLOCK_DIFFERENCE:
        direction = "ahead of" if ahead_of_database > 0 else "behind"
        text = f"The clock is {abs(ahead_of_database):.1f} s {direction} the clock of the database server."
        level = Level.PROBLEM if abs(ahead_of_database) > CLOCKS_MAY_DIFFER else Level.WARNING
        yield Finding("clock", level, f"{text} Synchronize both clocks (NTP).")
    elif is_synchronized is False:
        text = "The system does not synchronize its clock. Signatures of API calls and leases need the right time."
        yield Finding("clock", Level.WARNING, f"{text} Install chrony, or run: timedatectl set-ntp true")
    else:
        known = "The clock is synchronized" if is_synchronized else "It is not known whether the clock is synchronized"
        yield Finding("clock", Level.OK, f"{known}.")


def dns(hostname: str, *, is_public: bool, error: str, is_failure: bool) -> Iterator[Finding]:
    """Check the DNS. `error` is why the host name of the server has no address, or empty. `is_failure` is true if the
    DNS did not answer. `is_public` is true if other machines can send mail to the server.
    """
    if error and is_failure:
        text = f"The DNS does not work: {error}. Senders cannot be checked, and mx: routes have no destination."
        yield Finding("dns", Level.PROBLEM if is_public else Level.WARNING, text)
    elif error and is_public:
        text = f"The server's name (--hostname) is {hostname}, but {error}. Other mail servers may refuse its mail."
        yield Finding("dns", Level.WARNING, text)
    elif error:
        yield Finding("dns", Level.OK, f"{hostname} has no address, which a server on loopback does not need.")
    else:
        yield Finding("dns", Level.OK, f"The DNS works, and {hostname} has an address.")


def tls(
    chain: Sequence[Certificate],
    *,
    hostname: str,
    error: str,
    now: datetime,
    names: Sequence[str] = (),
    of: str = "",
) -> Iterator[Finding]:
    """Check the certificate and its chain. `error` is why the files cannot be used, or empty. Without a certificate,
    `chain` and `error` are empty.

    The certificate must be valid for the host name of the server or for one of the `names`. `of` describes its purpose,
    such as "for HTTPS".
    """
    which = f"The certificate {of}".rstrip()
    if error:
        yield Finding("tls", Level.PROBLEM, error)
        return
    if not chain:
        yield Finding("tls", Level.OK, "The settings name no certificate file (--tls-certificate).")
        return
    own = chain[0]
    yield from _validity(chain, now)
    for lower, upper in pairwise(chain):
        if lower.issuer != upper.subject:
            text = f"In the certificate file, {upper.subject} follows {lower.subject}, which {lower.issuer} has issued."
            yield Finding("tls", Level.PROBLEM, f"{text} Put the certificates in the order of the chain.")
    if not any(covers(name, each) for name in own.names for each in (hostname, *names)):
        valid_for = ", ".join(own.names) or "no name"
        other = " or a name of --http-names" if names else ""
        text = f"{which} is for {valid_for}, but not for the server's name (--hostname), {hostname}{other}."
        yield Finding("tls", Level.WARNING, text)
    if now < own.not_after:
        yield Finding("tls", Level.OK, f"{which} is valid until {own.not_after:%Y-%m-%d}.")


def _validity(chain: Sequence[Certificate], now: datetime) -> Iterator[Finding]:
    for one in chain:
        if now >= one.not_after:
            yield Finding("tls", Level.PROBLEM, f"The certificate {one.subject} expired on {one.not_after:%Y-%m-%d}.")
        elif now < one.not_before:
            yield Finding("tls", Level.PROBLEM, f"{one.subject} is not valid before {one.not_before:%Y-%m-%d %H:%M}Z.")
        elif one.not_after - now < EXPIRES_SOON:
            days = (one.not_after - now).days
            yield Finding("tls", Level.WARNING, f"The certificate {one.subject} expires in {days} days. Renew it.")


def open_files(limit: float, *, needed: int) -> Iterator[Finding]:
    """Check the limit on open files of the server's process."""
    if limit < needed:
        text = f"A process may open {limit:,.0f} files, but the limits on connections in the settings need {needed:,}."
        yield Finding("limits", Level.WARNING, f"{text} Raise the limit (LimitNOFILE=, ulimit -n).")
    else:
        yield Finding("limits", Level.OK, f"A process may open enough files ({needed:,} are needed).")


def postgresql(settings: Mapping[str, str], *, connections: int) -> Iterator[Finding]:
    """Check the settings of a PostgreSQL server. `connections` is how many this server may open, and
    `other_connections` in `settings` is how many sessions other programs have open.
    """
    for name in ("fsync", "full_page_writes"):
        if settings[name] == "off":
            text = f"{name} is off: after a crash, the database can be damaged, and accepted mail can be lost."
            yield Finding("database", Level.PROBLEM, f"{text} Set {name} = on.")
    if settings["synchronous_commit"] == "off":
        text = "synchronous_commit is off. Waypost turns it on in its own transactions, so no accepted mail is lost."
        yield Finding("database", Level.WARNING, text)
    free = int(settings["max_connections"]) - int(settings["reserved_connections"])
    others = int(settings["other_connections"])
    if connections > free - others:
        text = (
            f"PostgreSQL allows {free} connections (max_connections), other programs use {others}, and this server may "
            f"open {connections} (--database-connections)."
        )
        level = Level.PROBLEM if connections > free else Level.WARNING
        yield Finding("database", level, f"{text} Raise max_connections, or lower --database-connections.")
    yield Finding("database", Level.OK, f"PostgreSQL {settings['server_version']} can be reached.")


def routes(errors: Mapping[str, str | None]) -> Iterator[Finding]:
    """Check the routes. `errors` maps each route's `match` and target, in words, to why it cannot be used now, or to an
    empty string; None if there was no time to check it.
    """
    for route, error in errors.items():
        if error:
            yield Finding("routes", Level.PROBLEM, f"{error.removesuffix('.')}. Mail for the route {route} waits.")
        elif error is None:
            text = f"The route {route} was not checked, because the checks of all routes took too long."
            yield Finding("routes", Level.WARNING, f"{text} To check it, run: waypost routes test ADDRESS")
        else:
            yield Finding("routes", Level.OK, f"The target of the route {route} can be reached.")


def _size(octets: int) -> str:
    return f"{octets / 2**30:.1f} GiB" if octets >= 2**30 else f"{octets / 2**20:.0f} MiB"
