"""Warnings for the person who starts a server, about settings that are valid but probably not intended."""

import difflib
import stat
from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network

from waypost.config.rows import environment_name
from waypost.config.settings import ROWS, Role, Settings
from waypost.server.open_files import Connections

_NOT_PUBLIC = [
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598
        "127.0.0.0/8",
        "169.254.0.0/16",  # RFC 3927
        "::1/128",
        "fc00::/7",  # RFC 4193
        "fe80::/10",
    )
]
"""The networks that contain no public addresses."""

_LOOPBACK = ip_network("127.0.0.0/8")


OF_HELD_QUEUE = (
    "The queue is held (--hold-queue yes). The server attempts no queued delivery and sends no notice until you "
    "restart it without this setting."
)
"""The warning that a server sends no queued mail."""


def of_settings(settings: Settings) -> list[str]:
    """Return warnings about the given settings."""
    found = [
        f"--trusted-networks contains {network}, a network with public addresses. A client at any of these addresses "
        "can send mail in the name of any sender. List only the networks of your own machines."
        for network in settings.trusted_networks
        if network.num_addresses > 1 and not _is_private(network)
    ]
    if settings.testing:
        found.append(
            f"The server is for tests (--testing yes). It may refuse, delay or cut off mail that it could accept, by "
            f"fault rules ({len(settings.faults)} in the settings file, others by requests), and for recipients that "
            "begin with tempfail+ or bounce+. POST /_waypost/reset deletes all mail, email addresses and routes."
        )
    if settings.hold_queue:
        found.append(OF_HELD_QUEUE)
    if settings.probe_alias and settings.tls_clients:
        found.append("The probes will fail (--probe-alias), because they have no certificate for --tls-clients.")
    if settings.probe_alias and any(
        network.overlaps(_LOOPBACK) for network in settings.proxy_networks if network.version == 4
    ):
        found.append(
            "The probes will fail (--probe-alias), because they send no PROXY header, and --proxy-networks contains "
            "addresses of this machine."
        )
    if "." not in settings.real_hostname and not all(each.is_loopback for each in (*settings.smtp, *settings.smtps)):
        found.append(
            f"The host name {settings.real_hostname!r} has no domain, but other mail servers see it in the greeting "
            "and in Received fields. Set --hostname to a full name, such as mail.example.com."
        )
    return found


def of_missing_roles(missing: Iterable[Role]) -> str:
    """Return the warning that a server on an SQLite file does not have some roles."""
    return (
        f"This server does not have these roles: {', '.join(missing)}. No other server can use its SQLite file, so "
        "nobody does their work. Let several servers share a PostgreSQL database (--database), or give this server "
        "all roles."
    )


def of_environment(names: Iterable[str]) -> list[str]:
    """Return warnings about environment variables that have the prefix for settings but match no setting.

    Each warning names the setting with the most similar name, if there is one.
    """
    prefix = environment_name("")
    known = [environment_name(name).removeprefix(prefix) for name in ROWS]
    found = []
    for name in sorted(names):
        if name.startswith(prefix) and name.removeprefix(prefix) not in known:
            near = difflib.get_close_matches(name.removeprefix(prefix), known, n=1)
            meant = f" Did you mean {prefix}{near[0]}?" if near else ""
            found.append(
                f"The environment variable {name} matches no setting. The server ignores this variable.{meant}"
            )
    return found


def of_connections(possible: Connections, *, files: int, wanted: int) -> str:
    """Return the warning that fewer connections are possible than the settings allow.

    `files` is the number of files that the process may open. `wanted` is the number of files that the process needs for
    all connections that the settings allow.
    """
    return (
        f"The system allows {files} open files, so the server accepts at most {possible.smtp} mail connections and "
        f"{possible.http} HTTP connections. Raise the limit to {wanted} open files (`ulimit -n`, `LimitNOFILE=`), or "
        "lower --smtp-connections and --http-connections."
    )


def of_key_file(key: str, mode: int) -> str:
    """Return the warning that every user of the machine can access the certificate's private key; empty if not.

    There is no warning if only the file's group can read the key, because Linux distributions provide a group for the
    programs that need such keys.
    """
    if not mode & stat.S_IRWXO:
        return ""
    return f"Every user can access {key}, the certificate's private key (mode {mode:04o}). Run: chmod o= {key}"


def why_not_valid(not_before: datetime, not_after: datetime, now: datetime) -> str:
    """Return why clients refuse a certificate because of its dates; empty if it is valid now."""
    if now >= not_after:
        return f"it expired on {not_after:%Y-%m-%d %H:%M}Z"
    if now < not_before:
        return f"it is not valid before {not_before:%Y-%m-%d %H:%M}Z"
    return ""


def of_certificate(file: str, reason: str) -> str:
    """Return the warning that clients refuse the certificate in a file. `reason` is from `why_not_valid`."""
    return (
        f"Clients refuse the certificate in {file}, because {reason}. Replace the file. The server reads a changed "
        "file again by itself."
    )


def of_disk(directory: str, *, free: int, reserve: int) -> str:
    """Return the warning that the disk has less free space than `--disk-reserve` requires. The sizes `free` and
    `reserve` are in bytes.
    """
    return (
        f"The disk of {directory} has {free // 2**20} MiB free, which is less than --disk-reserve "
        f"({reserve // 2**20} MiB). The server refuses mail until more space is free."
    )


def _is_private(network: IPv4Network | IPv6Network) -> bool:
    """Whether a network has no public addresses."""
    return any(
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _NOT_PUBLIC
    )
