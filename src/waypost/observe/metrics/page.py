"""The page with all metrics, in Prometheus's text format or in OpenMetrics.

Only this module imports prometheus-client, and the server imports this module when the page is first requested.
"""

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


def rendered(
    totals: Sequence[float], gauges: Iterable[Sample], accept: str, *, without: Collection[Family] = ()
) -> tuple[bytes, str]:
    """Return the page and its media type.

    `totals` are the sums of the arrays of all processes, and `gauges` the values of the server's gauges. A gauge that
    is not among them is left out, and so are the metrics in `without`. `accept` is the Accept field of the request: the
    page is in OpenMetrics if the client prefers it.
    """
    registry = CollectorRegistry()
    registry.register(_Found(totals, gauges, without))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Found(Collector):
    """All metrics with their values, in the order of the table."""

    def __init__(self, totals: Sequence[float], gauges: Iterable[Sample], without: Collection[Family]) -> None:
        self._totals = totals
        self._shown = [family for family in FAMILIES if family not in without]
        self._gauges: dict[Family, list[tuple[tuple[str, ...], float]]] = {}
        for family, labels, value in gauges:
            self._gauges.setdefault(family, []).append((labels, value))

    def collect(self) -> Iterator[Metric]:
        """Yield each metric. prometheus-client calls this method."""
        for family in self._shown:
            if family is families.BUILD:
                yield _info(family)
            elif family.kind is Kind.HISTOGRAM:
                yield self._histogram(family)
            elif family.kind is Kind.COUNTER:
                counter = CounterMetricFamily(family.name, family.help, labels=list(family.labels))
                for labels, place in PLACES[family].items():
                    counter.add_metric(labels, self._totals[place])
                yield counter
            elif found := self._values(family):
                gauge = GaugeMetricFamily(family.name, family.help, labels=list(family.labels))
                for labels, value in found:
                    gauge.add_metric(labels, value)
                yield gauge

    def _values(self, family: Family) -> Sequence[tuple[tuple[str, ...], float]]:
        if family.kind is Kind.PROCESS_GAUGE:
            return [(labels, self._totals[place]) for labels, place in PLACES[family].items()]
        return self._gauges.get(family, ())

    def _histogram(self, family: Family) -> Metric:
        histogram = HistogramMetricFamily(family.name, family.help, labels=list(family.labels))
        bounds = [*map(floatToGoString, family.buckets), "+Inf"]
        for labels, place in PLACES[family].items():
            count, buckets = 0.0, []
            for bound, number in zip(bounds, self._totals[place:], strict=False):
                count += number
                buckets.append((bound, count))
            histogram.add_metric(labels, buckets, sum_value=self._totals[place + len(bounds)])
        return histogram


def _info(family: Family) -> Metric:
    info = InfoMetricFamily(family.name.removesuffix("_info"), family.help)
    for labels in family.series:
        info.add_metric([], dict(zip(family.labels, labels, strict=True)))
    return info
