"""The page with all metrics, in Prometheus's text format or in OpenMetrics.

Only this module imports prometheus-client. The server imports this module when it has a listener for metrics, or when a
client first requests the page.

prometheus-client needs 10 ms for the page, in which a busy server accepts less mail. The names, labels and help texts
are the same on each page, so prometheus-client renders them once, and each page only replaces the values.
"""

import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from waypost.observe.metrics import families
from waypost.observe.metrics.families import FAMILIES, Family, Kind, Sample
from waypost.observe.metrics.places import PLACES

_VERSIONS = {"0.0.1", "0.0.4", "1.0.0"}
"""The versions of the formats that Prometheus asks for."""

Shown = tuple[tuple[Family, tuple[tuple[str, ...], ...]], ...]
"""Metrics in the order of the table, each with the label values of its time series."""


def rendered(
    totals: Sequence[float], gauges: Iterable[Sample], accept: str, *, without: Collection[Family] = ()
) -> tuple[bytes, str]:
    """Return the page and its media type.

    `totals` are the sums of the arrays of all processes, and `gauges` the values of the server's gauges. A gauge that
    is not among them is left out, and so are the metrics in `without`. `accept` is the Accept field of the request: the
    page is in OpenMetrics if the client prefers it.
    """
    of_gauges: dict[Family, dict[tuple[str, ...], float]] = {}
    for family, labels, value in gauges:
        of_gauges.setdefault(family, {})[labels] = value
    shown, values = list[tuple[Family, tuple[tuple[str, ...], ...]]](), list[float]()
    for family in FAMILIES:
        if found := {} if family in without else _values(family, totals, of_gauges):
            shown.append((family, tuple(found)))
            values += itertools.chain.from_iterable(found.values())
    media_type = choose_encoder(_known(accept))[1]
    before, end = _texts(media_type, tuple(shown))
    lines = [f"{text} {value}\n" for text, value in zip(before, map(floatToGoString, values), strict=True)]
    return ("".join(lines) + end).encode(), media_type


def _known(accept: str) -> str:
    """Return an Accept field without the media types of versions that do not exist. prometheus-client would fail for a
    version that is not a number, and name any number as the version of the page.
    """
    return ",".join(each for each in accept.split(",") if _has_known_version(each.split(";")))


def _has_known_version(parts: Sequence[str]) -> bool:
    pairs = (part.partition("=") for part in parts[1:])
    return all(value.strip() in _VERSIONS for name, _, value in pairs if name.strip() == "version")


def _values(
    family: Family, totals: Sequence[float], gauges: dict[Family, dict[tuple[str, ...], float]]
) -> dict[tuple[str, ...], Sequence[float]]:
    """Return the values of each time series of a metric, in the order of the page."""
    if family is families.BUILD:
        return dict.fromkeys(family.series, (1.0,))
    if family.kind is Kind.GAUGE:
        return {labels: (value,) for labels, value in gauges.get(family, {}).items()}
    if family.kind is not Kind.HISTOGRAM:
        return {labels: (totals[place],) for labels, place in PLACES[family].items()}
    above = len(family.buckets) + 1
    found: dict[tuple[str, ...], Sequence[float]] = {}
    for labels, place in PLACES[family].items():
        buckets = list(itertools.accumulate(totals[place : place + above]))
        found[labels] = [*buckets, buckets[-1], totals[place + above]]
    return found


@functools.lru_cache(maxsize=8)
def _texts(media_type: str, shown: Shown) -> tuple[Sequence[str], str]:
    """Return the text before each value of a page, and the text after the last value. A text contains all lines since
    the value before.
    """
    registry = CollectorRegistry()
    registry.register(_WithoutValues(shown))
    encode, _ = choose_encoder(media_type)
    texts, comments = list[str](), ""
    for line in encode(registry).decode().splitlines():
        if line.startswith("#"):
            comments += line + "\n"
        else:
            texts.append(comments + line.rpartition(" ")[0])
            comments = ""
    return texts, comments


class _WithoutValues(Collector):
    """All metrics of a page, with the value 0."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def collect(self) -> Iterator[Metric]:
        """Yield each metric. prometheus-client calls this method."""
        for family, series in self._shown:
            if family is families.BUILD:
                yield _info(family)
            elif family.kind is Kind.HISTOGRAM:
                bounds = [*map(floatToGoString, family.buckets), "+Inf"]
                histogram = HistogramMetricFamily(family.name, family.help, labels=list(family.labels))
                for labels in series:
                    histogram.add_metric(labels, [(bound, 0.0) for bound in bounds], sum_value=0.0)
                yield histogram
            else:
                make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
                metric = make(family.name, family.help, labels=list(family.labels))
                for labels in series:
                    metric.add_metric(labels, 0.0)
                yield metric


def _info(family: Family) -> Metric:
    info = InfoMetricFamily(family.name.removesuffix("_info"), family.help)
    for labels in family.series:
        info.add_metric([], dict(zip(family.labels, labels, strict=True)))
    return info
