"""The table of all metrics. Nothing else is counted, and `docs/reference/metrics.md` is generated from this table.

Names and units follow https://prometheus.io/docs/practices/naming/. Each label has a fixed list of values, so the
number of time series is fixed too. No label value comes from a client: a value that is not in the list counts as
`other`, or is an error if the list has no `other`.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from msgspec import Struct, field

import waypost

OTHER = "other"
"""The label value for everything that the table does not list."""


class Kind(Enum):
    """The kinds of metrics."""

    COUNTER = "counter"
    """A number that only increases while the server runs."""
    HISTOGRAM = "histogram"
    """The distribution of measured values, as counters for ranges of values."""
    PROCESS_GAUGE = "gauge of a process"
    """A current value that each process of the server has. The page shows the sum."""
    GAUGE = "gauge"
    """A current value of the whole server, which is read when the page is requested."""


class Family(Struct, frozen=True, kw_only=True, eq=False):
    """One metric, with a time series for each combination of its label values."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The names of the labels, each with all of its values."""
    buckets: tuple[float, ...] = ()
    """The upper bounds of a histogram's ranges, in ascending order, without infinity."""

    @property
    def series(self) -> Iterator[tuple[str, ...]]:
        """All combinations of label values, in the order of the labels."""
        return itertools.product(*self.labels.values())

    def bounded(self, values: Sequence[str]) -> tuple[str, ...]:
        """Return label values in which `other` replaces each value that is not in the table. Raises `KeyError` for a
        label that has no `other`.
        """
        bounded = []
        for (label, allowed), value in zip(self.labels.items(), values, strict=True):
            known = value if value in allowed else OTHER
            if known not in allowed:
                raise KeyError(f"{self.name}: {label}={value}")
            bounded.append(known)
        return tuple(bounded)


Sample = tuple[Family, tuple[str, ...], float]
"""A metric, its label values, and a number: how much to add to a counter, or the value of a gauge."""

_ROUTES = ("smtp", "mx", "lmtp", "maildir", "webhook", OTHER)
_LISTENERS = ("smtp", "smtps", "lmtp")
_REFUSALS = (
    "unknown_recipient",
    "guessing",
    "rate",
    "unauthenticated",
    "loop",
    "size",
    "capacity",
    "recipients",
    "line_ends",
    "syntax",
    OTHER,
)
_PARTS = ("api", "authentication", "console", "delivery", "http", "inspection", "smtp", "upkeep", OTHER)
_OPERATIONS = (
    "AssociateEmailAddressAlias",
    "CreateEmailAddress",
    "CreateInstance",
    "DeleteEmailAddress",
    "DeleteInstance",
    "DescribeEmailAddress",
    "DescribeInstance",
    "DisassociateEmailAddressAlias",
    "ListInstances",
    "ListTagsForResource",
    "SearchEmailAddresses",
    "TagResource",
    "UntagResource",
    "UpdateEmailAddressMetadata",
    OTHER,
)
_MILLISECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _counter(name: str, help_text: str, **labels: Sequence[str]) -> Family:
    return Family(name=name, kind=Kind.COUNTER, help=help_text, labels=labels)


def _histogram(name: str, help_text: str, buckets: tuple[float, ...], **labels: Sequence[str]) -> Family:
    return Family(name=name, kind=Kind.HISTOGRAM, help=help_text, labels=labels, buckets=buckets)


def _of_processes(name: str, help_text: str, **labels: Sequence[str]) -> Family:
    return Family(name=name, kind=Kind.PROCESS_GAUGE, help=help_text, labels=labels)


def _gauge(name: str, help_text: str, **labels: Sequence[str]) -> Family:
    return Family(name=name, kind=Kind.GAUGE, help=help_text, labels=labels)


# Mail that arrives

MESSAGES_ACCEPTED = _counter("waypost_messages_accepted_total", "Messages that the server has accepted.")
RECIPIENTS_ACCEPTED = _counter("waypost_recipients_accepted_total", "Recipients of the accepted messages.")
OCTETS_ACCEPTED = _counter("waypost_messages_accepted_bytes_total", "Size of the accepted messages.")
MESSAGES_REFUSED = _counter(
    "waypost_messages_refused_total",
    "Messages that the server has refused at MAIL, DATA or the end of the data, by reason.",
    reason=_REFUSALS,
)
RECIPIENTS_REFUSED = _counter(
    "waypost_recipients_refused_total", "Recipients that the server has refused at RCPT, by reason.", reason=_REFUSALS
)

# Mail that leaves

DELIVERED = _counter(
    "waypost_deliveries_delivered_total", "Deliveries that a destination has accepted, by kind of route.", route=_ROUTES
)
DEFERRED = _counter(
    "waypost_deliveries_deferred_total",
    "Delivery attempts that have failed and will be repeated, by kind of route.",
    route=_ROUTES,
)
DEAD = _counter(
    "waypost_deliveries_dead_total", "Deliveries that have become dead letters, by kind of route.", route=_ROUTES
)
DEAD_REMOVED = _counter(
    "waypost_dead_letters_removed_total",
    "Dead letters that were removed, because of their age or on request.",
    reason=("expired", "request"),
)
LEASES_LOST = _counter(
    "waypost_leases_lost_total", "Attempts whose lease ended before their outcome was recorded; mail may arrive twice."
)
ATTEMPT_SECONDS = _histogram(
    "waypost_delivery_attempt_duration_seconds",
    "Duration of delivery attempts, by kind of route.",
    (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
    route=_ROUTES,
)
QUEUE_DELIVERIES = _gauge(
    "waypost_queue_deliveries",
    "Deliveries that wait for an attempt or are being attempted, by kind of route. Servers that share a database have "
    "the same queue.",
    route=_ROUTES,
)
QUEUE_AGE = _gauge(
    "waypost_queue_oldest_age_seconds",
    "Time since the oldest message in the queue arrived, by kind of route; 0 if no message waits.",
    route=_ROUTES,
)
QUEUE_HELD = _gauge(
    "waypost_queue_held", "1 if the server holds the queue (--hold-queue yes) and so sends no queued mail, or else 0."
)

# The API

API_CALLS = _counter(
    "waypost_api_calls_total",
    "Calls of the Amazon Connect API, by operation and result. A call that is not authenticated has the operation "
    "other.",
    operation=_OPERATIONS,
    result=("ok", "refused", "denied", "throttled", "unavailable", "error"),
)
API_SECONDS = _histogram(
    "waypost_api_call_duration_seconds",
    "Time to answer a call of the Amazon Connect API, by operation.",
    _MILLISECONDS,
    operation=_OPERATIONS,
)

# Connections

SESSIONS_OPENED = _counter(
    "waypost_smtp_sessions_opened_total", "Connections of mail clients that were admitted.", listener=_LISTENERS
)
SESSIONS_CLOSED = _counter(
    "waypost_smtp_sessions_closed_total", "Connections of admitted mail clients that have ended.", listener=_LISTENERS
)
SESSIONS = _of_processes(
    "waypost_smtp_sessions",
    "Open connections of mail clients, by state of the session.",
    state=("opening", "start", "ready", "mail", "rcpt", "data", "tls", "over"),
)
SESSIONS_LIMIT = _gauge("waypost_smtp_sessions_limit", "Maximum number of connections of mail clients.")
HTTP_CONNECTIONS = _of_processes("waypost_http_connections", "Open HTTP connections.")
HTTP_CONNECTIONS_LIMIT = _gauge("waypost_http_connections_limit", "Maximum number of HTTP connections.")
CONNECTIONS_REFUSED = _counter(
    "waypost_connections_refused_total",
    "Connections that were refused because of a limit on connections.",
    protocol=("smtp", "http"),
)
TLS_HANDSHAKES = _counter(
    "waypost_tls_handshakes_total",
    "TLS handshakes of clients, by protocol, result and version. A failed handshake has the version none.",
    protocol=("smtp", "http"),
    result=("ok", "failed"),
    version=("TLSv1.2", "TLSv1.3", "none", OTHER),
)
CERTIFICATE_EXPIRY = _gauge(
    "waypost_certificate_expiry_timestamp_seconds",
    "Time when the server's TLS certificate expires, by protocol. Absent if the server has none.",
    protocol=("smtp", "http"),
)

# Resources

MEMORY_USED = _of_processes("waypost_smtp_memory_used_bytes", "Memory that incoming mail uses.")
MEMORY_LIMIT = _of_processes("waypost_smtp_memory_limit_bytes", "Maximum memory for incoming mail.")
DISK_FREE = _gauge(
    "waypost_disk_free_bytes", "Space for mail on the disk of the data directory, with unused space in the database."
)
DISK_RESERVE = _gauge("waypost_disk_reserve_bytes", "Free space below which the server refuses mail.")
COMMIT_SECONDS = _histogram(
    "waypost_store_commit_duration_seconds",
    "Duration of the transactions that write to the store.",
    (0.0005, *_MILLISECONDS),
)
COMMIT_WRITES = _histogram(
    "waypost_store_commit_writes",
    "Number of writes that share a transaction.",
    (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
)

# Clocks

CLOCK_SKEW = _gauge(
    "waypost_clock_skew_seconds",
    "How far the clock of this server is ahead of the clock of the database; negative if it is behind, 0 with SQLite.",
)

# Trouble

STORE_ERRORS = _counter(
    "waypost_store_errors_total", "Failures of the store, by the part of the server that reported them.", part=_PARTS
)
INCIDENTS = _counter(
    "waypost_incidents_total", "Internal errors, by the part of the server that reported them.", part=_PARTS
)
LOG_LINES_DROPPED = _counter("waypost_log_lines_dropped_total", "Log lines that could not be written.")
WORKER_RESTARTS = _counter(
    "waypost_worker_restarts_total", "Worker processes that have ended unexpectedly and were replaced."
)

# The self-probe, and the spans for OpenTelemetry

PROBE_SUCCESS = _of_processes(
    "waypost_probe_success",
    "Whether the last self-probe succeeded: 1 or 0; also 0 until the first one has ended. Absent if the server sends "
    "no probes, like the other gauges of the probe.",
)
PROBE_SECONDS = _of_processes(
    "waypost_probe_duration_seconds",
    "Duration of the last self-probe that succeeded, from the connection until all of its deliveries were complete.",
)
PROBE_LAST_SUCCESS = _of_processes(
    "waypost_probe_last_success_timestamp_seconds", "Time when a self-probe last succeeded; 0 if none has."
)
PROBES = _counter(
    "waypost_probes_total",
    "Self-probes that have ended, by result. Each accepted one also counts as a message and as deliveries.",
    result=("ok", "not_an_alias", "refused", "unreachable", "late", "dead", "error"),
)
PROBE_GAUGES = (PROBE_SUCCESS, PROBE_SECONDS, PROBE_LAST_SUCCESS)
"""The gauges that only a server with probes has."""
SPANS = _counter(
    "waypost_spans_total",
    "Spans for OpenTelemetry, by result: sent to the collector, not taken by it, or dropped because too many waited.",
    result=("sent", "failed", "dropped"),
)

# The server

BUILD = _gauge("waypost_build_info", "The version of Waypost; the value is always 1.", version=(waypost.__version__,))
START_TIME = _gauge("waypost_start_time_seconds", "Time when the server was started.")

FAMILIES: tuple[Family, ...] = tuple(family for family in list(vars().values()) if isinstance(family, Family))
"""All metrics, in the order of the page."""
