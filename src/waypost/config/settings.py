"""The table of all settings, with one row for each setting, and the class that holds the settings' typed values.

A setting can be given on the command line as `--name`, in the environment as `WAYPOST_SERVE_NAME`, or in a settings
file. `sources` reads all three. To add a setting, add a row to the table. `tests/test_completeness.py` then reports all
other code and pages that must use the setting but do not use it yet.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from waypost.config.rows import DATA_DIRECTORY, option_name, rows_of, setting
from waypost.config.tables import Delivery
from waypost.config.types import (
    ACCOUNT,
    ADDRESS,
    COLLECTOR,
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
    SHARE,
    SIZE,
    BadSetting,
    Endpoint,
    Network,
    all_or,
    at_least_one,
    choice,
    duration,
    number_or_auto,
    one_of,
    or_off,
    some_of,
    whole_number,
)
from waypost.domain.directory.addresses import domain_key
from waypost.domain.errors import Invalid
from waypost.domain.limits.rates import PROFILES, Limits
from waypost.domain.mail.fault_rules import FaultRule
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route
from waypost.observe.log_options import Format, Level, LogOptions

FEWEST = 5
"""The minimum number of connections to PostgreSQL: one connection for each kind of work."""


_HTTPS_PORT = 443


def _cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Authentication(StrEnum):
    """Whether SPF, DKIM and DMARC are checked, and whether mail is refused because of the results."""

    OFF = "off"
    RECORD = "record"
    ENFORCE = "enforce"


class Clock(StrEnum):
    """The clock that is used for mail."""

    REAL = "real"
    VIRTUAL = "virtual"


class Role(StrEnum):
    """A kind of work that a server can do. Servers that share a database can have different roles."""

    API = "api"
    """Serves the Amazon Connect API, the inspection API and the console over HTTP."""
    SMTP = "smtp"
    """Receives mail over SMTP and LMTP."""
    DELIVERY = "delivery"
    """Delivers queued mail to the destinations of the routes, and writes notices to senders."""
    UPKEEP = "upkeep"
    """Deletes what has expired, and completes the work of servers that were killed."""


ALL_ROLES = frozenset(Role)


class ConsoleLink(StrEnum):
    """Whether the server prints a link with which its operator signs in to the console once."""

    TERMINAL = "terminal"
    ALWAYS = "always"
    NEVER = "never"


class Contradiction(BadSetting):
    """A setting contradicts another setting."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{option_name(name)} {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of `waypost serve`. Each field has the default value of its setting.

    Sizes are in bytes. Raises `Contradiction` if settings contradict each other.
    """

    config: Path | None = setting(
        FILE,
        "",
        "A settings file in TOML, which can contain routes and other settings of the server. Environment variables "
        "override the file, and command-line options override the file and the environment.",
        in_file=False,
    )
    data: Path = setting(
        DIRECTORY,
        DATA_DIRECTORY,
        "The data directory, where Waypost stores its data. The server creates this directory when it first starts.",
    )
    workers: int = setting(
        number_or_auto(64, _cores),
        "1",
        "The number of worker processes. With more than one, a supervisor process starts the worker processes, which "
        'share the ports, the database and the limits. The value "auto" means one for each processor core.',
    )
    roles: frozenset[Role] = setting(
        some_of(Role),
        ",".join(Role),
        "The work of this server: api, smtp, delivery, upkeep, or several of these, separated by commas. Servers that "
        "share a database can have different roles, but each role needs at least one server. A server without the api "
        "role has no HTTP port, and a server without the smtp role receives no mail.",
    )
    http: Endpoint | None = setting(
        or_off(ENDPOINT),
        "127.0.0.1:8025",
        "The address (HOST:PORT) of the Amazon Connect API, the inspection API and the console. Port 0 selects any "
        'free port. With the value "off", they are available only over HTTPS (--https).',
    )
    https: tuple[Endpoint, ...] = setting(
        ENDPOINTS,
        "",
        "One or more addresses (HOST:PORT), separated by commas, where the Amazon Connect API, the inspection API and "
        "the console are available over HTTPS. There, the console also answers clients on other machines. By default, "
        "the server has no HTTPS.",
    )
    https_certificate: Path | None = setting(
        FILE,
        "",
        'A PEM file with the certificate for HTTPS and its chain, or "self-signed" as for --tls-certificate. By '
        "default, the server uses the certificate of --tls-certificate.",
    )
    https_key: Path | None = setting(
        FILE,
        "",
        "A PEM file with the private key of the certificate for HTTPS. By default, the server reads the key from the "
        "file of --https-certificate.",
    )
    https_authority: Path | None = setting(
        FILE,
        "",
        "A PEM file with the certificate authority that clients need to verify the certificate for HTTPS, if it is not "
        "a public authority. `waypost env` sets AWS_CA_BUNDLE to this file, and the commands use it.",
    )
    http_connections: int = setting(
        whole_number(10, 1_000_000),
        "1000",
        "The maximum number of simultaneous HTTP connections. The server answers further connections with 503.",
    )
    http_connections_each: int = setting(
        whole_number(1, 1_000_000),
        "200",
        "The maximum number of simultaneous HTTP connections from one client IP address (with IPv6, from one /64 "
        "network). If the server is behind a proxy, this limit applies to all clients together, because all "
        "connections come from the proxy's address.",
        is_reloadable=True,
    )
    http_names: frozenset[str] = setting(
        HOST_NAMES,
        "",
        "Additional host names, such as waypost.example.com, that clients may use for the inspection API and the "
        "console. IP addresses, localhost and the server's own name (--hostname) are always allowed. The Amazon "
        "Connect API accepts any host name.",
    )
    metrics: tuple[Endpoint, ...] = setting(
        ENDPOINTS,
        "",
        "One or more addresses (HOST:PORT), separated by commas, where the server gives its metrics and its health to "
        "every client, without credentials. By default, only the address of the API has them, and only programs on the "
        "same machine can read the metrics without credentials.",
    )
    smtp: tuple[Endpoint, ...] = setting(
        at_least_one(ENDPOINTS),
        "127.0.0.1:1025",
        "One or more addresses (HOST:PORT) for incoming mail, separated by commas, such as 0.0.0.0:25,[::]:25. Port 0 "
        "selects any free port.",
    )
    smtps: tuple[Endpoint, ...] = setting(
        ENDPOINTS,
        "",
        "One or more addresses (HOST:PORT) for incoming mail over implicit TLS (RFC 8314), separated by commas. By "
        "default, the server does not listen for implicit TLS.",
    )
    lmtp: tuple[Endpoint, ...] = setting(
        ENDPOINTS,
        "",
        "One or more addresses (HOST:PORT), separated by commas, for mail that another mail server has already "
        "checked, and delivers over LMTP. By default, the server does not accept LMTP.",
    )
    tls_certificate: Path | None = setting(
        FILE,
        "",
        'A PEM file with the server\'s certificate and its chain. With the value "self-signed", the server makes a '
        "certificate in the data directory, for development. If the server has a certificate, it offers STARTTLS.",
    )
    tls_key: Path | None = setting(
        FILE,
        "",
        "A PEM file with the certificate's private key. By default, the server reads the key from the certificate "
        "file.",
    )
    tls_required: bool = setting(FLAG, "no", "Whether the server refuses SMTP without TLS (LMTP is exempt).")
    tls_clients: Path | None = setting(
        FILE,
        "",
        "A PEM file with certificate authorities, and optionally revocation lists. Clients must present a certificate "
        "that an authority in this file has issued.",
    )
    proxy_networks: tuple[Network, ...] = setting(
        NETWORKS,
        "",
        "Networks of load balancers, such as 10.0.0.0/8,192.0.2.7. Each connection from these networks must begin "
        "with a version 2 PROXY protocol header that contains the client's address.",
    )
    trusted_networks: tuple[Network, ...] = setting(
        NETWORKS,
        "",
        "Networks of trusted clients, such as 127.0.0.0/8,::1. The server trusts the sender addresses that these "
        "clients give, sends notices to those addresses, and does not limit the number of unknown recipients. By "
        "default, no client is trusted, not even on loopback.",
        is_reloadable=True,
    )
    smtp_connections: int = setting(
        whole_number(10, 1_000_000), "15000", "The maximum number of simultaneous mail connections."
    )
    smtp_connections_each: int = setting(
        whole_number(1, 1_000_000),
        "100",
        "The maximum number of simultaneous mail connections from one client IP address (with IPv6, from one /64 "
        "network).",
        is_reloadable=True,
    )
    smtp_new_connections_each: int = setting(
        whole_number(0, 1_000_000),
        "0",
        "The maximum number of new connections per minute from one client IP address. The value 0 means no limit.",
        is_reloadable=True,
    )
    smtp_messages_each: int = setting(
        whole_number(0, 1_000_000),
        "0",
        "The maximum number of messages per minute from one client IP address. The value 0 means no limit.",
        is_reloadable=True,
    )
    smtp_unknown_recipients: int = setting(
        whole_number(1, 1_000_000),
        "20",
        "The number of unknown recipients after which the server ends a session, because the client is probably "
        "guessing addresses.",
    )
    smtp_memory: int = setting(
        whole_number(16, 1_000_000, unit="MiB", times=2**20),
        "128",
        "The maximum amount of memory for incoming mail, in MiB. If incoming mail needs more memory, the server "
        "writes it to disk.",
    )
    greeting_delay: timedelta = setting(
        duration(timedelta(minutes=1), example="2s", empty=timedelta(0)),
        "",
        "The delay before the server sends its greeting, such as 2s. The server refuses clients that send data during "
        "the delay. By default, there is no delay.",
        is_reloadable=True,
    )
    authentication: Authentication = setting(
        one_of(Authentication),
        "record",
        'SPF, DKIM and DMARC checks of mail from untrusted clients: "record" stores the results, "enforce" also '
        'refuses mail if the DMARC policy of the author\'s domain requires it, and "off" turns off all checks. With '
        '"record", a server that listens only on loopback does not check mail.',
    )
    dns: tuple[Endpoint, ...] = setting(
        RESOLVERS,
        "",
        "One or more DNS resolvers, each written as IP or IP:PORT, separated by commas. By default, the server uses "
        "the system's resolvers.",
    )
    hostname: str = setting(
        HOST_NAME,
        "",
        "The server's name in the SMTP greeting and in Received fields. The default is the name of this machine.",
    )
    subaddressing: frozenset[str] = setting(
        DOMAINS,
        "",
        "Domains that use subaddressing, such as example.com,example.org. In these domains, mail for support+x@ goes "
        "to support@ if support+x@ does not exist. By default, no domain uses subaddressing.",
    )
    shared_domains: frozenset[str] = setting(
        all_or(DOMAINS),
        "",
        'Domains, separated by commas, in which every account may have email addresses. The value "*" stands for '
        "all domains except the server's own domain. By default, a domain belongs to the account that has email "
        "addresses in it.",
        is_reloadable=True,
    )
    database: str = setting(
        DATABASE,
        "",
        "The URL of a PostgreSQL database that stores all data, in the form postgresql://USER@HOST/NAME. Several "
        "servers may share this database. The default is a SQLite file in the data directory. If the URL contains a "
        "password, use the environment variable instead of the option.",
        is_secret=True,
    )
    database_connections: int = setting(
        whole_number(FEWEST, 9999),
        "16",
        "The maximum number of connections from this server to PostgreSQL. Each worker process has at least 5.",
    )
    database_prepared_statements: bool = setting(
        FLAG,
        "yes",
        "Whether the server uses prepared statements and settings of a session on PostgreSQL. Set this to no if a "
        "pooler in transaction mode, such as PgBouncer, is between the server and PostgreSQL.",
    )
    database_migrations: bool = setting(
        FLAG,
        "yes",
        "Whether the server migrates an older PostgreSQL database when it starts. With no, it does not start on an "
        "older database, and `waypost migrate --run` migrates it. The server always creates the tables of an empty "
        "database, and always migrates an SQLite file.",
    )
    account: str = setting(
        ACCOUNT,
        "000000000000",
        "The twelve-digit AWS account id for the access key that the server creates when it first starts.",
    )
    region: str = setting(
        REGION,
        "us-east-1",
        "The AWS region of the instance that the server creates when it first starts. `waypost env` prints the region.",
    )
    limits: Limits = setting(
        choice(PROFILES),
        "relaxed",
        'The API limits: "relaxed", or "aws" for the default quotas of Amazon Connect.',
        is_reloadable=True,
    )
    token_retention: timedelta = setting(
        DURATION,
        "7d",
        "How long the server remembers client tokens: a duration such as 7d, 12h, 30m or 90s.",
        is_reloadable=True,
    )
    trace_refusals: timedelta = setting(
        DURATION, "7d", "How long the server remembers that it refused mail for an address."
    )
    dead_letter_retention: timedelta | None = setting(
        or_off(DURATION),
        "off",
        "How long the server keeps a dead letter after it gave up the delivery: a duration such as 90d. Older dead "
        "letters are removed, and can then not be redriven. By default, the server keeps dead letters until a person "
        "removes them.",
        is_reloadable=True,
    )
    disk_reserve: int = setting(
        SIZE,
        "256MiB",
        "The amount of space to keep free on the data directory's disk. If less space is free, the server refuses "
        "mail with 452.",
        is_reloadable=True,
    )
    hold_queue: bool = setting(
        FLAG,
        "no",
        "Whether the server holds the queue: it accepts mail and API calls, but attempts no queued delivery, sends no "
        "notice, and gives up nothing. The deliveries are attempted after a restart without this setting. It applies "
        "to this server only: other servers on the same PostgreSQL database still send. Use it for a restored backup.",
    )
    console_link: ConsoleLink = setting(
        one_of(ConsoleLink),
        "terminal",
        'When the server prints a link that opens the console: "always" at its start, "never", or only if its output '
        'is a "terminal". The link signs in once, within 10 minutes, on the machine of the server.',
    )
    log_level: Level = setting(
        one_of(Level),
        "info",
        "The least level of the events in the log. The page on events has the level of each event.",
        is_reloadable=True,
    )
    log_format: Format = setting(
        one_of(Format),
        "auto",
        'The format of the log: "json" for one JSON object in each line, "text" for lines for people, or "auto" for '
        "text on a terminal, and for JSON otherwise.",
        is_reloadable=True,
    )
    log_file: Path | None = setting(
        FILE,
        "",
        "The file to which the log is appended. A new file has the mode 0640. After SIGHUP, the server opens the file "
        "again, so that a program such as logrotate can rename it. By default, the log goes to standard error.",
        is_reloadable=True,
    )
    otel_traces: str = setting(
        COLLECTOR,
        "",
        "The URL of a collector to which the server sends spans for OpenTelemetry by OTLP over HTTP, such as "
        "http://127.0.0.1:4318. A URL without a path gets the path /v1/traces. This needs the package waypost[otel]. "
        "By default, the server makes no spans.",
        is_secret=True,
    )
    otel_sampling: float = setting(
        SHARE,
        "1",
        "The share of messages, and of API calls without a `traceparent` header field, for which the server makes "
        "spans: a number more than 0 and at most 1. Servers that share a database must have the same share.",
    )
    probe_alias: str = setting(
        ADDRESS,
        "",
        "An alias to which the server sends a small message again and again, by SMTP to its own port. The server "
        "follows the message to the primary, and the metrics have the result. By default, the server sends none.",
    )
    probe_every: timedelta = setting(
        duration(timedelta(minutes=10), example="60s"),
        "60s",
        "The time from one message to `--probe-alias` to the next. The probe fails if the message is not delivered "
        "within 30 s.",
    )
    clock: Clock = setting(
        one_of(Clock),
        "real",
        'The clock that is used for mail: "real", or "virtual" for tests. A virtual clock runs at normal speed, '
        "and POST /_waypost/clock/advance moves it forward.",
    )
    testing: bool = setting(
        FLAG,
        "no",
        "Whether the server is for tests. Such a server may inject faults into incoming mail. The faults come from "
        "[[fault]] tables in the settings file, from POST /_waypost/faults, and from recipients that begin with "
        "tempfail+ or bounce+. POST /_waypost/reset deletes everything; therefore, the server uses only a new data "
        "directory, or one that a server for tests has made. It reports changes to mail within a tenth of a second.",
    )

    routes: tuple[Route, ...] = ()
    """The routes in the settings file. Routes, delivery settings, retention rules and fault rules can be set only in
    the settings file."""
    delivery: Delivery = field(default_factory=Delivery)
    retention: tuple[Rule, ...] = ()
    faults: tuple[FaultRule, ...] = ()

    def __post_init__(self) -> None:
        self._check_https()
        for name in ("smtps", "tls_key", "tls_clients"):
            if getattr(self, name) and not self.tls_certificate:
                raise Contradiction(name, "needs --tls-certificate")
        if self.workers > 1 and self.clock is Clock.VIRTUAL:
            raise Contradiction("workers", "must be 1 with --clock virtual, which only one process can advance")
        if self.workers > 1 and self.testing:
            raise Contradiction("workers", "must be 1 with --testing yes, because only one process can be reset")
        if self.faults and not self.testing:
            raise Contradiction("testing", "must be yes if the settings file has [[fault]] tables")
        if self.tls_required and not self.tls_certificate:
            raise Contradiction("tls_required", "yes needs --tls-certificate")
        if self.tls_clients and not self.tls_required:
            raise Contradiction("tls_clients", "needs --tls-required yes: without TLS no client sends a certificate")
        if self.tls_key and self.tls_certificate == SELF_SIGNED:
            raise Contradiction(
                "tls_key", f"cannot be given with --tls-certificate {SELF_SIGNED}, which makes its own key"
            )

        if self.probe_alias and Role.SMTP not in self.roles:
            raise Contradiction("probe_alias", "needs the smtp role, because the probe uses the server's SMTP port")

    def _check_https(self) -> None:
        if self.http is None and not self.https:
            raise Contradiction("http", "off needs --https: otherwise, the server has no address for the API")
        for name in ("https_certificate", "https_key", "https_authority"):
            if getattr(self, name) and not self.https:
                raise Contradiction(name, "needs --https")
        if self.https and self.real_https_certificate is None:
            raise Contradiction("https", "needs --https-certificate or --tls-certificate")
        if self.https_key and (self.https_certificate is None or self.https_certificate == SELF_SIGNED):
            raise Contradiction("https_key", "needs --https-certificate with a file")
        if self.https_authority and self.real_https_certificate == SELF_SIGNED:
            raise Contradiction(
                "https_authority", f"cannot be given with the certificate {SELF_SIGNED}, which is its own authority"
            )

    @property
    def real_https_certificate(self) -> Path | None:
        """The file of the certificate for HTTPS, or `SELF_SIGNED`; None if the settings name none."""
        return self.https_certificate or self.tls_certificate

    @property
    def is_https_only(self) -> bool:
        """Whether a browser may remember to use only HTTPS for the server's host name (RFC 6797).

        Browsers apply this to all ports of the host name. Therefore, HTTPS must have the standard port, so that the web
        server of this host name is Waypost, and other machines must not reach an address with HTTP. With a self-signed
        certificate, a person could then not continue after the browser's warning.
        """
        is_standard = any(each.port == _HTTPS_PORT for each in self.https)
        has_other = self.http is not None and not self.http.is_loopback
        return is_standard and not has_other and self.real_https_certificate != SELF_SIGNED

    @property
    def endpoints(self) -> Mapping[str, Sequence[Endpoint]]:
        """The endpoints of all listeners of a server with these roles, keyed by the names of their settings."""
        return {**self.http_endpoints, "metrics": self.metrics, **self.mail_endpoints}

    @property
    def http_endpoints(self) -> Mapping[str, Sequence[Endpoint]]:
        """The endpoints of the API and the console, keyed by the names of their settings; none without the api role."""
        if Role.API not in self.roles:
            return {}
        return {"http": (self.http,) if self.http else (), "https": self.https}

    @property
    def mail_endpoints(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """The endpoints of the mail listeners, keyed by the names of their settings; none without the smtp role."""
        return {"smtp": self.smtp, "smtps": self.smtps, "lmtp": self.lmtp} if Role.SMTP in self.roles else {}

    @property
    def log(self) -> LogOptions:
        """The options of the log."""
        return LogOptions(level=self.log_level, format=self.log_format, file=self.log_file)

    @property
    def own_http_names(self) -> frozenset[str]:
        """The host names, in lower case, that clients may use for the inspection API and the console."""
        return self.http_names | {self.real_hostname.lower()}

    @property
    def checks_senders(self) -> bool:
        """Whether the server checks the senders of mail.

        With `enforce`, the server always checks senders. With `record`, the server checks senders only if other
        machines can connect to it. If it listens only on loopback, for example on a laptop, all mail comes from
        loopback addresses, which no domain lists in its SPF record. Such a server therefore makes no DNS queries for
        incoming mail, and is just as fast without a network connection. Mail that is not checked counts as
        unauthenticated.
        """
        is_reached = bool(self.proxy_networks) or not all(each.is_loopback for each in (*self.smtp, *self.smtps))
        return self.authentication is Authentication.ENFORCE or (
            self.authentication is Authentication.RECORD and is_reached
        )

    @property
    def real_hostname(self) -> str:
        """The host name of the server: the `hostname` setting, or by default the name of this machine."""
        return (self.hostname or socket.gethostname()).removesuffix(".")

    @property
    def domain_of_hostname(self) -> str:
        """The host name as an email domain, in A-labels; empty if the host name is not a valid email domain."""
        try:
            return domain_key(self.real_hostname)
        except Invalid:
            return ""


ROWS = rows_of(Settings)
"""All settings of `waypost serve`, keyed by their names."""
