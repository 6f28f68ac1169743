"""Generates the reference page of the metrics from their table."""

from collections.abc import Iterator

from waypost.observe.metrics import families
from waypost.observe.metrics.families import FAMILIES, Family, Kind

_KINDS = {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram", Kind.GAUGE: "gauge", Kind.PROCESS_GAUGE: "gauge"}

_BEGINNING = """\
# Metrics

`GET /_waypost/metrics` returns the metrics of the whole server, with all worker processes, in Prometheus's text format,
or in OpenMetrics if the client prefers it (`Accept: application/openmetrics-text`). [Monitor Waypost with
Prometheus](../how-to/monitor.md) shows how to collect them, and what to do when an alert fires.

On the address of the API (`--http`), a program on the same machine needs no credentials: the connection must be between
loopback addresses, `Host` must be `localhost` or a loopback address, and the request must have no header field of a
proxy, such as `X-Forwarded-For`. Every other client needs an access key of the account that owns the server, whose
policy allows `waypost:Inspect`. On the addresses of `--metrics`, every client can read the metrics, also as
`GET /metrics`, and the pages `/_waypost/health` and `/_waypost/ready`. These addresses have nothing else.

Each label has only the values below, and `other` stands for every value that is not in the table. No label contains an
email address, a domain, an id or an IP address.

Counters and histograms begin at 0 when the server starts, and do not decrease when a worker process is replaced. A
gauge that cannot be read now is left out. Gauges of other worker processes are up to two seconds old. A long queue
(`waypost_queue_…`) is read in the background, and less often, so that the reading takes at most 1 % of the time.
"""


def page() -> str:
    """Return the page: all metrics, then the values of their labels and the buckets of the histograms."""
    return "\n".join([_BEGINNING, *_metrics(), "", *_labels(), "", *_buckets(), ""])


def _metrics() -> Iterator[str]:
    yield "| metric | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {_KINDS[family.kind]} | {labels} | {family.help} |"


def _labels() -> Iterator[str]:
    """Yield the table of labels. Metrics that have the same label with the same values share a row."""
    yield "## Labels\n"
    yield "| label | of | values |"
    yield "|---|---|---|"
    rows: dict[tuple[str, str], list[str]] = {}
    for family in FAMILIES:
        for label, values in family.labels.items():
            shown = "the version" if family is families.BUILD else ", ".join(f"`{value}`" for value in values)
            rows.setdefault((label, shown), []).append(f"`{family.name}`")
    for (label, shown), names in rows.items():
        yield f"| `{label}` | {', '.join(names)} | {shown} |"


def _buckets() -> Iterator[str]:
    yield "## Buckets of histograms\n"
    yield "| metric | upper bounds |"
    yield "|---|---|"
    for family in filter(_is_histogram, FAMILIES):
        yield f"| `{family.name}` | {', '.join(f'{bound:g}' for bound in family.buckets)} |"


def _is_histogram(family: Family) -> bool:
    return family.kind is Kind.HISTOGRAM
