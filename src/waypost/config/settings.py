"""The table of settings, a row each, and their typed value: numbers, durations, paths, networks.

Each row can be given on the command line as `--name`, in the environment as `WAYPOST_SERVE_NAME`, or in a settings
file. `sources` reads them. To add a setting, add a row; `tests/test_completeness.py` says what is missing then.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from waypost.config.rows import option_name, rows_of, setting
from waypost.config.tables import Delivery
from waypost.config.types import (
    ACCOUNT,
    DATABASE,
    DIRECTORY,
    DOMAINS,
    DURATION,
    ENDPOINT,
    ENDPOINTS,
    FILE,
    FLAG,
    HOST_NAME,
    HOST_NAMES,
    NETWORKS,
    REGION,
    RESOLVERS,
    SELF_SIGNED,
    SIZE,
    BadSetting,
    Endpoint,
    Network,
    all_or,
    at_least_one,
    choice,
    duration,
    one_of,
    whole_number,
)
from waypost.domain.directory.addresses import domain_key
from waypost.domain.errors import Invalid
from waypost.domain.limits.rates import PROFILES, Limits
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route

FEWEST = 4
"""The fewest connections to PostgreSQL: one for each kind of work."""


class Authentication(StrEnum):
    """What is done about SPF, DKIM and DMARC."""

    OFF = "off"
    RECORD = "record"
    ENFORCE = "enforce"


class Clock(StrEnum):
    """The clock of mail."""

    REAL = "real"
    VIRTUAL = "virtual"


class Contradiction(BadSetting):
    """A setting contradicts another one."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{option_name(name)} {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set for `waypost serve`. Made by hand it holds the defaults.

    Sizes are in octets. Raises `Contradiction` for settings that contradict each other.
    """

    config: Path | None = setting(
        FILE,
        "",
        "A settings file, in TOML, with routes and any of these settings. Environment variables override it, and "
        "command-line options override both.",
        in_file=False,
    )
    data: Path = setting(
        DIRECTORY, "./waypost-data", "The data directory, where Waypost keeps everything; the first start creates it."
    )
    http: Endpoint = setting(
        ENDPOINT,
        "127.0.0.1:8025",
        "HOST:PORT of the Amazon Connect API and the inspection API; port 0 takes any free port.",
    )
    http_connections: int = setting(
        whole_number(10, 1_000_000),
        "1000",
        "Simultaneous connections of HTTP clients; the server answers further ones with 503.",
    )
    http_connections_each: int = setting(
        whole_number(1, 1_000_000),
        "200",
        "Simultaneous connections per client IP address (per /64 network with IPv6). Behind a proxy, all "
        "connections come from its address.",
    )
    http_names: frozenset[str] = setting(
        HOST_NAMES,
        "",
        "Host names, such as waypost.example.com, by which clients may call the inspection API, besides IP "
        "addresses, localhost and --hostname. The Amazon Connect API accepts any name.",
    )
    smtp: tuple[Endpoint, ...] = setting(
        at_least_one(ENDPOINTS),
        "127.0.0.1:1025",
        "HOST:PORT for incoming mail, or several with commas, as in 0.0.0.0:25,[::]:25; port 0 takes any free port.",
    )
    smtps: tuple[Endpoint, ...] = setting(
        ENDPOINTS, "", "HOST:PORT for incoming mail over implicit TLS (RFC 8314); none by default."
    )
    lmtp: tuple[Endpoint, ...] = setting(
        ENDPOINTS, "", "HOST:PORT for mail that another mail server has checked and delivers by LMTP; none by default."
    )
    tls_certificate: Path | None = setting(
        FILE,
        "",
        "A PEM file with the server's certificate and its chain; or self-signed, and the server makes a certificate"
        " in the data directory, for development. With a certificate, the server offers STARTTLS.",
    )
    tls_key: Path | None = setting(
        FILE, "", "A PEM file with the key of the certificate; by default the file of the certificate has it."
    )
    tls_required: bool = setting(FLAG, "no", "yes to reject plaintext SMTP (LMTP is exempt).")
    tls_clients: Path | None = setting(
        FILE,
        "",
        "A PEM file with certificate authorities, and revocation lists if there are any: clients must have a "
        "certificate of one of them.",
    )
    proxy_networks: tuple[Network, ...] = setting(
        NETWORKS,
        "",
        "Networks of load balancers, as in 10.0.0.0/8,192.0.2.7: each connection from them begins with a header of "
        "the PROXY protocol, version 2, which names the client.",
    )
    trusted_networks: tuple[Network, ...] = setting(
        NETWORKS,
        "",
        "Networks of trusted clients, as in 127.0.0.0/8,::1: the server believes their senders and sends notices to"
        " them, and they may name any number of unknown recipients. None by default, not even loopback.",
    )
    smtp_connections: int = setting(whole_number(10, 1_000_000), "15000", "Simultaneous connections of mail clients.")
    smtp_connections_each: int = setting(
        whole_number(1, 1_000_000), "100", "Simultaneous connections per client IP address (per /64 network with IPv6)."
    )
    smtp_new_connections_each: int = setting(
        whole_number(0, 1_000_000), "0", "New connections a minute per client IP address; 0 for no limit."
    )
    smtp_messages_each: int = setting(
        whole_number(0, 1_000_000), "0", "Messages a minute per client IP address; 0 for no limit."
    )
    smtp_unknown_recipients: int = setting(
        whole_number(1, 1_000_000),
        "20",
        "Unknown recipients in a session after which the server ends it, because the client is guessing addresses.",
    )
    smtp_memory: int = setting(
        whole_number(16, 1_000_000, unit="MiB", times=2**20),
        "128",
        "MiB of memory for incoming mail; what exceeds it goes to disk.",
    )
    greeting_delay: timedelta = setting(
        duration(timedelta(minutes=1), example="2s", empty=timedelta(0)),
        "",
        "How long the server waits before its greeting, as in 2s; it refuses clients that send data before. No "
        "delay by default.",
    )
    authentication: Authentication = setting(
        one_of(Authentication),
        "record",
        "SPF, DKIM and DMARC of mail from untrusted clients: record the results, enforce to refuse what DMARC says "
        "to refuse, or off. With record, a server that listens on loopback alone checks nothing.",
    )
    dns: tuple[Endpoint, ...] = setting(
        RESOLVERS, "", "IP or IP:PORT of the DNS resolver, or several with commas; by default those of the system."
    )
    hostname: str = setting(
        HOST_NAME,
        "",
        "The server's name in the SMTP greeting and in Received lines; by default the name of this machine.",
    )
    subaddressing: frozenset[str] = setting(
        DOMAINS,
        "",
        "Domains with subaddresses, as in example.com,example.org: mail for support+x@ is for support@ if "
        "support+x@ does not exist. None by default.",
    )
    shared_domains: frozenset[str] = setting(
        all_or(DOMAINS),
        "",
        "Domains, with commas, in which every account may have email addresses, or * for all except the server's "
        "own; by default a domain belongs to the account that has email addresses in it.",
    )
    database: str = setting(
        DATABASE,
        "",
        "postgresql://USER@HOST/NAME of a PostgreSQL database that keeps everything, and that several servers may "
        "share; by default a SQLite file in the data directory. If there is a password in it, prefer the "
        "environment variable.",
        is_secret=True,
    )
    database_connections: int = setting(whole_number(FEWEST, 9999), "16", "Connections of this server to PostgreSQL.")
    account: str = setting(
        ACCOUNT, "000000000000", "At the first start: the AWS account id of the access key, twelve digits."
    )
    region: str = setting(
        REGION, "us-east-1", "At the first start: the AWS region of the instance, and the one `waypost env` names."
    )
    limits: Limits = setting(
        choice(PROFILES), "relaxed", "Limits of the API: relaxed, or aws for the defaults of Amazon Connect."
    )
    token_retention: timedelta = setting(
        DURATION, "7d", "How long the server remembers a client token, as in 7d, 12h, 30m or 90s."
    )
    trace_refusals: timedelta = setting(
        DURATION, "7d", "How long the server remembers that it refused mail for an address."
    )
    disk_reserve: int = setting(
        SIZE,
        "256MiB",
        "Space to keep free on the disk of the data directory: with less, the server refuses mail with 452.",
    )
    clock: Clock = setting(
        one_of(Clock),
        "real",
        "real, or virtual for tests: a clock that runs on, and that POST /_waypost/clock/advance moves forward.",
    )

    routes: tuple[Route, ...] = ()
    """This table and those below are in the settings file alone."""
    delivery: Delivery = field(default_factory=Delivery)
    retention: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        for name in ("smtps", "tls_key", "tls_clients"):
            if getattr(self, name) and not self.tls_certificate:
                raise Contradiction(name, "needs --tls-certificate")
        if self.tls_required and not self.tls_certificate:
            raise Contradiction("tls_required", "yes needs --tls-certificate")
        if self.tls_clients and not self.tls_required:
            raise Contradiction("tls_clients", "needs --tls-required yes: without TLS no client shows a certificate")
        if self.tls_key and self.tls_certificate == SELF_SIGNED:
            raise Contradiction(
                "tls_key", f"cannot be given with --tls-certificate {SELF_SIGNED}, which makes a key of its own"
            )

    @property
    def mail_endpoints(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """The addresses of the mail listeners, by the names of their settings."""
        return {"smtp": self.smtp, "smtps": self.smtps, "lmtp": self.lmtp}

    @property
    def own_http_names(self) -> frozenset[str]:
        """Host names by which clients may call the inspection API, in lower case."""
        return self.http_names | {self.real_hostname.lower()}

    @property
    def checks_senders(self) -> bool:
        """Whether mail is checked: always with `enforce`, and with `record` where other machines can connect.

        No domain lists a loopback address in its SPF record. So a server on a laptop does not ask the DNS about each
        message, and it works as fast without a network. That is not trust: such mail is not authenticated either.
        """
        is_reached = bool(self.proxy_networks) or not all(each.is_loopback for each in (*self.smtp, *self.smtps))
        return self.authentication is Authentication.ENFORCE or (
            self.authentication is Authentication.RECORD and is_reached
        )

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


ROWS = rows_of(Settings)
"""All settings that `waypost serve` takes, by their names."""
