"""The table of settings: name, default and help, read once into one frozen value.

Each can be given on the command line as `--name`, in the environment as `WAYPOST_SERVE_NAME`, or in a settings file.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from waypost.domain.directory.addresses import domain_key
from waypost.domain.directory.partitions import is_region
from waypost.domain.errors import Invalid
from waypost.domain.limits.rates import PROFILES, Limits


class BadSetting(Exception):
    """A setting has a value that cannot be used. The message names it and says what it must be."""


def _setting(default: str, text: str) -> str:
    value: str = field(default=default, metadata={"help": text})
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set for `waypost serve`. Made by hand it holds the defaults."""

    config: str = _setting(
        "",
        "A settings file, in TOML, with routes and any of these settings. The environment wins over it, and the "
        "command line over both.",
    )
    data: str = _setting("./waypost-data", "The directory with all that Waypost keeps; made at the first start.")
    http: str = _setting(
        "127.0.0.1:8025", "HOST:PORT for the Amazon Connect API and the inspection API; port 0 takes any."
    )
    http_connections: str = _setting("1000", "Connections of HTTP clients at once; more are answered with 503.")
    http_connections_each: str = _setting(
        "200", "Of these, from one address, or one /64 network with IPv6. Behind a proxy, all come from its address."
    )
    http_names: str = _setting(
        "",
        "Host names, with commas, as in waypost.example.com, by which the inspection API may be asked, besides IP "
        "addresses, localhost and --hostname. The Amazon Connect API may be asked by any.",
    )
    smtp: str = _setting(
        "127.0.0.1:1025",
        "HOST:PORT for incoming mail, or several with commas, as in 0.0.0.0:25,[::]:25; port 0 takes any.",
    )
    smtps: str = _setting("", "HOST:PORT for incoming mail over TLS from the beginning (RFC 8314); by default none.")
    lmtp: str = _setting(
        "", "HOST:PORT for mail that another mail server hands over by LMTP, and has checked; by default none."
    )
    tls_certificate: str = _setting(
        "",
        "A PEM file with our certificate and those that lead to its authority, or self-signed to have one made in the "
        "data directory, for development. With it STARTTLS is offered.",
    )
    tls_key: str = _setting("", "A PEM file with the key of the certificate; by default it is in the same file.")
    tls_required: str = _setting("no", "yes: no mail is taken in clear, but on --lmtp.")
    tls_clients: str = _setting(
        "",
        "A PEM file with authorities, and revocation lists if there are any: clients must have a certificate of one.",
    )
    proxy_networks: str = _setting(
        "",
        "Networks of load balancers, as in 10.0.0.0/8,192.0.2.7: each connection from there says by the PROXY "
        "protocol, version 2, who the client is.",
    )
    trusted_networks: str = _setting(
        "",
        "Networks whose clients are trusted, as in 127.0.0.0/8,::1: their senders are believed and get notices, and "
        "they may name any number of unknown recipients. By default none, not even loopback.",
    )
    smtp_connections: str = _setting("15000", "Connections of mail clients at once.")
    smtp_connections_each: str = _setting("100", "Of these, from one address, or one /64 network with IPv6.")
    smtp_new_connections_each: str = _setting("0", "New connections a minute from one address; 0 for any number.")
    smtp_messages_each: str = _setting("0", "Messages a minute that one address may begin; 0 for any number.")
    smtp_unknown_recipients: str = _setting(
        "20", "Unknown recipients in a session, after which the server ends it: the client is guessing addresses."
    )
    smtp_memory: str = _setting("128", "MiB of memory for all that comes in at once. More goes to disk as it comes.")
    greeting_delay: str = _setting(
        "",
        "How long to wait before the greeting, as in 2s; whoever speaks before it is sent away. By default not at all.",
    )
    authentication: str = _setting(
        "record",
        "SPF, DKIM and DMARC of mail from untrusted clients: record what they say, enforce to refuse what DMARC wants "
        "refused, or off. A server that listens on loopback alone has nothing to record.",
    )
    dns: str = _setting(
        "", "IP or IP:PORT of the DNS resolver to ask, or several with commas; by default the system's."
    )
    hostname: str = _setting("", "The name in the SMTP greeting and in Received lines; by default this machine's.")
    subaddressing: str = _setting(
        "",
        "Domains, with commas, as in example.com,example.org, where mail for support+x@ is for support@ if there is no "
        "support+x@; by default none.",
    )
    shared_domains: str = _setting(
        "",
        "Domains, with commas, in which every account may have email addresses, or * for all but those of the server "
        "itself; by default a domain belongs to the account that has some in it.",
    )
    database: str = _setting(
        "",
        "postgresql://USER@HOST/NAME, to keep everything there, shared by several servers; by default a SQLite file in "
        "the data directory. With a password in it, rather set the environment variable.",
    )
    database_connections: str = _setting("16", "Connections to PostgreSQL that this server may have, at least 4.")
    account: str = _setting("000000000000", "At the first start: the AWS account id of the access key, twelve digits.")
    region: str = _setting(
        "us-east-1", "At the first start: the AWS region of the instance, and the one `waypost env` names."
    )

    limits: str = _setting("relaxed", "How much is allowed: relaxed, or aws for the defaults of Amazon Connect.")
    token_retention: str = _setting("7d", "How long a client token is remembered, as in 7d, 12h, 30m or 90s.")
    trace_refusals: str = _setting("7d", "How long it is remembered that mail for an address was refused.")
    disk_reserve: str = _setting(
        "256MiB", "Space on the disk of the data directory: with less of it free, mail is refused with 452."
    )
    clock: str = _setting(
        "real", "real, or virtual for tests: it runs on, and can be moved on by POST /_waypost/clock/advance."
    )

    def __post_init__(self) -> None:
        host_and_port("http", self.http)
        host_and_port("smtp", self.smtp.partition(",")[0])
        for name in ("smtp", "smtps", "lmtp"):
            for address in self.addresses(name):
                host_and_port(name, address)
        self._check_mail()
        check_database(self.database)
        _ = self.own_http_names
        if not re.fullmatch(r"[0-9]{1,4}", self.database_connections, re.ASCII) or self.connections < FEWEST:
            raise BadSetting(
                f"--database-connections must be a number from {FEWEST} to 9999, not {self.database_connections!r}"
            )
        if not re.fullmatch(r"[0-9]{12}", self.account):
            raise BadSetting(f"--account must be twelve digits, not {self.account!r}")
        if not is_region(self.region):
            raise BadSetting(f"--region must be a region that AWS publishes, such as us-east-1, not {self.region!r}")
        choice("limits", self.limits, tuple(PROFILES))
        duration("token-retention", self.token_retention)
        duration("trace-refusals", self.trace_refusals)
        size("disk-reserve", self.disk_reserve)
        choice("clock", self.clock, ("real", "virtual"))
        if self.hostname and not re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9.-]{0,254}", self.hostname):
            raise BadSetting(f"--hostname must be a host name, not {self.hostname!r}")

    def _check_mail(self) -> None:
        for name, (least, most) in _NUMBERS.items():
            number(name, getattr(self, name), least, most)
        choice("tls_required", self.tls_required, ("yes", "no"))
        choice("authentication", self.authentication, ("off", "record", "enforce"))
        for name in ("smtps", "tls_key", "tls_clients"):
            if getattr(self, name) and not self.tls_certificate:
                raise BadSetting(f"{option_name(name)} needs --tls-certificate")
        if self.tls_required == "yes" and not self.tls_certificate:
            raise BadSetting("--tls-required yes needs --tls-certificate")
        if self.tls_clients and self.tls_required != "yes":
            raise BadSetting("--tls-clients needs --tls-required yes: in clear nobody shows a certificate")
        if self.tls_key and self.tls_certificate == SELF_SIGNED:
            raise BadSetting(f"--tls-key is made with --tls-certificate {SELF_SIGNED}, and cannot be given")
        _ = (self.proxies, self.trusted, self.resolvers, self.seconds_before_greeting, self.subaddressed, self.shared)

    def addresses(self, name: str) -> list[str]:
        """Where mail is listened for, as HOST:PORT each; none if it is not."""
        value: str = getattr(self, name)
        return [address.strip() for address in value.split(",")] if value else []

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """Networks from which the PROXY protocol comes."""
        return _networks("proxy_networks", self.proxy_networks)

    @property
    def trusted(self) -> list[IPv4Network | IPv6Network]:
        """Networks whose clients are trusted."""
        return _networks("trusted_networks", self.trusted_networks)

    @property
    def own_http_names(self) -> frozenset[str]:
        """Host names by which the inspection API may be asked, in small letters."""
        names = [text.strip().lower().removesuffix(".") for text in self.http_names.split(",") if text.strip()]
        for name in names:
            if not re.fullmatch(_HOST_NAME, name, re.ASCII):
                raise BadSetting(f"--http-names must be host names without a port, with commas, not {name!r}")
        return frozenset([*names, self.real_hostname.lower()])

    @property
    def resolvers(self) -> list[tuple[str, int]]:
        """Addresses of DNS resolvers; none for the system's."""
        asked = [text.strip() for text in self.dns.split(",") if text.strip()]
        found = [(text, DNS_PORT) if _is_address(text) else host_and_port("dns", text) for text in asked]
        for host, _ in found:
            if not _is_address(host):
                raise BadSetting(f"--dns must have IP addresses, not {host!r}")
        return found

    @property
    def subaddressed(self) -> frozenset[str]:
        """Domains that have subaddresses, as A-labels."""
        return _domains("subaddressing", self.subaddressing)

    @property
    def shared(self) -> frozenset[str]:
        """Domains in which every account may have email addresses, as A-labels; `*` alone for all."""
        return frozenset({"*"}) if self.shared_domains == "*" else _domains("shared_domains", self.shared_domains)

    @property
    def checks_senders(self) -> bool:
        """Whether mail is checked: always with `enforce`, and with `record` where other machines can connect.

        No domain lists a loopback address in its SPF record. So a server on a laptop does not ask the DNS about each
        message, and it works as fast without a network. That is not trust: such mail is as unproved as any.
        """
        heard = (host_and_port(name, address)[0] for name in ("smtp", "smtps") for address in self.addresses(name))
        is_reached = bool(self.proxies) or not all(map(_is_loopback, heard))
        return self.authentication == "enforce" or (self.authentication == "record" and is_reached)

    @property
    def seconds_before_greeting(self) -> float:
        """How long a client waits for the greeting."""
        if not re.fullmatch(r"([1-9]|[1-5][0-9]|60)s|", self.greeting_delay, re.ASCII):
            raise BadSetting(
                f"--greeting-delay must be 1s to 60s: senders wait no longer than minutes; not {self.greeting_delay!r}"
            )
        return float(self.greeting_delay.removesuffix("s") or 0)

    @property
    def connections(self) -> int:
        """How many connections to PostgreSQL this server may have."""
        return int(self.database_connections)

    @property
    def limits_profile(self) -> Limits:
        """The limits that were chosen."""
        return PROFILES[self.limits]

    @property
    def client_token_retention(self) -> timedelta:
        """How long a client token is remembered."""
        return duration("token-retention", self.token_retention)

    @property
    def refusal_retention(self) -> timedelta:
        """How long it is remembered that mail was refused."""
        return duration("trace-refusals", self.trace_refusals)

    @property
    def disk_reserve_octets(self) -> int:
        """What must be free on the disk for mail to be taken."""
        return size("disk-reserve", self.disk_reserve)

    @property
    def has_virtual_clock(self) -> bool:
        """Whether the time of mail can be moved on."""
        return self.clock == "virtual"

    @property
    def directory(self) -> Path:
        """The data directory."""
        return Path(self.data)

    @property
    def real_hostname(self) -> str:
        """The name to use: the one that was set, or this machine's."""
        return (self.hostname or socket.gethostname()).removesuffix(".")

    @property
    def domain_of_hostname(self) -> str:
        """The name as a domain that an address can have, as A-labels; empty if it is none."""
        try:
            return domain_key(self.real_hostname)
        except Invalid:
            return ""


DNS_PORT = 53

_HOST_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}"
"""With an underscore, as names of containers have it."""

SELF_SIGNED = "self-signed"
"""In place of a file: the certificate is made in the data directory."""

_NUMBERS = {
    "http_connections": (10, 1_000_000),
    "http_connections_each": (1, 1_000_000),
    "smtp_connections": (10, 1_000_000),
    "smtp_connections_each": (1, 1_000_000),
    "smtp_new_connections_each": (0, 1_000_000),
    "smtp_messages_each": (0, 1_000_000),
    "smtp_unknown_recipients": (1, 1_000_000),
    "smtp_memory": (16, 1_000_000),
}
"""Settings that are whole numbers, with the least and the most that they may be."""

FEWEST = 4
"""Connections to PostgreSQL with which each kind of work has one."""


def check_database(url: str) -> None:
    """Raise `BadSetting` for what is no URL of a database. It is never quoted: it may have a password."""
    scheme, _, rest = url.partition("://")
    if url and scheme not in ("postgresql", "postgres"):
        raise BadSetting("--database must be a URL such as postgresql://USER@HOST/NAME")
    authority, _, path = rest.partition("/")
    if authority.count("@") > 1 or "@" in path.partition("?")[0]:  # libpq would take a part of a password for a host
        raise BadSetting("--database must have %2F for a slash, and %40 for an at sign, in the user name or password")


def number(name: str, value: str, least: int, most: int) -> None:
    """Raise `BadSetting` for what is no whole number within bounds."""
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not least <= int(value) <= most:
        raise BadSetting(f"{option_name(name)} must be a number from {least} to {most}, not {value!r}")


def choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `BadSetting` for what is none of the choices."""
    if value not in choices:
        raise BadSetting(f"{option_name(name)} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")


def duration(name: str, value: str) -> timedelta:
    """Read a duration such as `7d`, `12h`, `30m` or `90s`. Raises `BadSetting`."""
    found = read_duration(value)
    if found is None:
        raise BadSetting(f"--{name} must be {A_DURATION}, not {value!r}")
    return found


def read_duration(text: str) -> timedelta | None:
    """What a duration means; None if it is none."""
    match = re.fullmatch(r"([0-9]{1,9})([dhms])", text, re.ASCII)
    found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
    return found if timedelta(0) < found <= LONGEST else None


LONGEST = timedelta(days=3650)
"""The longest duration that can be set."""

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

A_DURATION = f"a number with d, h, m or s, as in 7d, more than 0 and at most {LONGEST.days}d"


def size(name: str, value: str) -> int:
    """Read a size such as `512KiB`, `256MiB`, `1GiB`, or a number of octets. Raises `BadSetting`."""
    found = read_size(value)
    if found is None:
        raise BadSetting(f"--{name} must be {A_SIZE}, not {value!r}")
    return found


def read_size(text: str) -> int | None:
    """How many octets a size is; None if it is none."""
    match = re.fullmatch(r"([0-9]{1,18})|([0-9]{1,9})(KiB|MiB|GiB)", text, re.ASCII)
    return int(match[1] or match[2]) * _OCTETS[match[3]] if match else None


_OCTETS = {None: 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

A_SIZE = "a number with KiB, MiB or GiB, as in 256MiB, or a number of octets"


def host_and_port(name: str, value: str) -> tuple[str, int]:
    """Take `HOST:PORT` apart; an IPv6 host is in brackets. Raises `BadSetting`."""
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise BadSetting(f"--{name} must be HOST:PORT, with a port from 0 to 65535, not {value!r}")
    return host, int(port)


def _domains(name: str, value: str) -> frozenset[str]:
    """Read domains with commas between, as A-labels. Raises `BadSetting`."""
    given = [text.strip() for text in value.split(",")] if value else []
    try:
        return frozenset(map(domain_key, given))
    except Invalid as error:
        message = f"{option_name(name)} must be domains such as example.com, with commas, not {value!r}"
        raise BadSetting(message) from error


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _networks(name: str, value: str) -> list[IPv4Network | IPv6Network]:
    """Read networks with commas between them. Raises `BadSetting`."""
    try:
        return [ip_network(text.strip()) for text in value.split(",") if text.strip()]
    except ValueError as error:
        raise BadSetting(f"{option_name(name)} must be networks such as 10.0.0.0/8: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def option_name(name: str) -> str:
    """The command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return f"WAYPOST_SERVE_{name.upper()}"


def help_of(name: str) -> str:
    """What a setting is for, in a sentence."""
    (found,) = (setting for setting in fields(Settings) if setting.name == name)
    text: str = found.metadata["help"]
    return text
