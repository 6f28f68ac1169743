"""Metrics: what each event counts, how processes and threads count together, and the page in both formats."""

import re
import threading
import time
from itertools import pairwise
from typing import get_args

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

import waypost
from waypost.api.operations import table as operations
from waypost.config.settings import Settings
from waypost.domain.mail import routes
from waypost.domain.mail.delivery import Protocol
from waypost.observe import events
from waypost.observe.measures import Measures
from waypost.observe.metrics import counting, families, measuring, page
from waypost.observe.metrics.arrays import Arrays
from waypost.observe.metrics.counting import counts_of
from waypost.observe.metrics.families import FAMILIES, Kind
from waypost.observe.metrics.places import PLACES, width
from waypost.server.assembly import smtp as assembly
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.states import State
from waypost.smtp.server import connection

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def of_route(kind, destination):
    return kind(id="an-id", destination=destination, attempt=1, stage="end", code=250, trouble="")


def failed(kind, where):
    return kind(where=where, id="an-id", cause=RuntimeError())


COUNTED = [
    (
        events.MessageAccepted(id="an-id", peer="192.0.2.1", size=4096, recipients=2),
        [
            (families.MESSAGES_ACCEPTED, (), 1),
            (families.RECIPIENTS_ACCEPTED, (), 2),
            (families.OCTETS_ACCEPTED, (), 4096),
        ],
    ),
    (
        events.MessageRefused(peer="192.0.2.1", reply=str(replies.NO_DISK)),
        [(families.MESSAGES_REFUSED, ("capacity",), 1)],
    ),
    (
        events.RecipientRefused(peer="192.0.2.1", reply=str(replies.NO_SUCH_USER)),
        [(families.RECIPIENTS_REFUSED, ("unknown_recipient",), 1)],
    ),
    (of_route(events.Delivered, "smtp://mx.example:25"), [(families.DELIVERED, ("smtp",), 1)]),
    (of_route(events.DeliveryDeferred, "mx:example.com"), [(families.DEFERRED, ("mx",), 1)]),
    (of_route(events.GivenUp, "https://crm.example/..."), [(families.DEAD, ("webhook",), 1)]),
    (events.DeadLettersRemoved(count=3, reason="expired"), [(families.DEAD_REMOVED, ("expired",), 3)]),
    (events.LeaseLost(id="an-id", destination="maildir:..."), [(families.LEASES_LOST, (), 1)]),
    (
        events.ConnectionsRefused(reply=str(replies.SERVER_FULL), count=7, peer="192.0.2.1"),
        [(families.CONNECTIONS_REFUSED, ("smtp",), 7)],
    ),
    (
        events.ConnectionsRefused(reply="503 The server is full.", count=7, peer="192.0.2.1"),
        [(families.CONNECTIONS_REFUSED, ("http",), 7)],
    ),
    (events.TlsFailed(peer="192.0.2.1", reason="why"), [(families.TLS_HANDSHAKES, ("smtp", "failed", "none"), 1)]),
    (
        events.TlsFailed(peer="192.0.2.1", reason="why", protocol="http", count=7),
        [(families.TLS_HANDSHAKES, ("http", "failed", "none"), 7)],
    ),
    (failed(events.StoreFailed, "smtp"), [(families.STORE_ERRORS, ("smtp",), 1)]),
    (failed(events.Failed, "purge"), [(families.INCIDENTS, ("upkeep",), 1)]),
    (events.Damaged(where="delivery", id="an-id", message_id="m"), [(families.INCIDENTS, ("delivery",), 1)]),
    (events.LinesDropped(count=3), [(families.LOG_LINES_DROPPED, (), 3)]),
    (events.WorkerEnded(worker=1, pid=2, reason="why"), [(families.WORKER_RESTARTS, (), 1)]),
]
"""Events, each with what it counts."""

MEASURED = [
    (
        lambda measures: measures.api_call("DescribeEmailAddress", 200, 0.25),
        {(families.API_CALLS, "DescribeEmailAddress", "ok"): 1, (families.API_SECONDS, "DescribeEmailAddress"): 0.25},
    ),
    (
        lambda measures: measures.api_call("", 403, 0.25),
        {(families.API_CALLS, "other", "denied"): 1, (families.API_SECONDS, "other"): 0.25},
    ),
    (lambda measures: measures.attempt("lmtp:///run/lmtp", 1.5), {(families.ATTEMPT_SECONDS, "lmtp"): 1.5}),
    (
        lambda measures: measures.commit(12, 0.02),
        {(families.COMMIT_SECONDS,): 0.02, (families.COMMIT_WRITES,): 12},
    ),
    (lambda measures: measures.session_opened("smtps"), {(families.SESSIONS_OPENED, "smtps"): 1}),
    (lambda measures: measures.session_closed("lmtp"), {(families.SESSIONS_CLOSED, "lmtp"): 1}),
    (lambda measures: measures.tls_made("smtp", "TLSv1.3"), {(families.TLS_HANDSHAKES, "smtp", "ok", "TLSv1.3"): 1}),
    (lambda measures: measures.spans("dropped", 7), {(families.SPANS, "dropped"): 7}),
    (lambda measures: measures.probed("late"), {(families.PROBES, "late"): 1}),
]
"""Measurements, each with the values that it adds. Of a histogram, this is the sum."""

NAMES = [type(happened).__name__ for happened, _ in COUNTED]


@pytest.mark.parametrize(("happened", "counts"), COUNTED, ids=NAMES)
def test_an_event_is_counted(happened, counts):
    assert list(counts_of(happened)) == counts
    metrics = Arrays().of(0)
    metrics.count(happened)
    for family, labels, amount in counts:
        assert value(metrics, family, *labels) == amount


@pytest.mark.parametrize(("measure", "values"), MEASURED)
def test_a_measurement_is_counted(measure, values):
    metrics = Arrays().of(0)
    measure(metrics.measures)
    assert {series: value(metrics, *series) for series in values} == values


def test_each_counter_and_each_histogram_is_in_the_tables_of_this_test():
    counted = {family for _, counts in COUNTED for family, _, _ in counts}
    measured = {family for _, values in MEASURED for family, *_ in values}
    assert counted | measured == {family for family in FAMILIES if family.kind in (Kind.COUNTER, Kind.HISTOGRAM)}
    kinds = {type(event) for event, _ in COUNTED}
    assert kinds == {kind for kind in get_args(events.Event) if counting.is_counted(kind)}


def test_no_series_is_changed_by_events_and_by_measurements():
    """Measurements need no lock, because they have their series for themselves."""
    of_events = {(family, *labels) for _, counts in COUNTED for family, labels, _ in counts}
    of_measurements = {series for _, values in MEASURED for series in values}
    assert not of_events & of_measurements
    shared = {series[0] for series in of_events} & {series[0] for series in of_measurements}
    assert shared == {families.TLS_HANDSHAKES}  # events count only failed handshakes


def test_the_same_call_is_counted_again():
    metrics = Arrays().of(0)
    for _ in range(3):
        metrics.measures.api_call("TagResource", 404, 0.5)
        metrics.measures.api_call("NoSuchOperation", 404, 0.5)
    assert value(metrics, families.API_CALLS, "TagResource", "refused") == 3
    assert value(metrics, families.API_CALLS, "other", "refused") == 3
    assert value(metrics, families.API_SECONDS, "TagResource") == 1.5


def test_a_part_without_metrics_can_measure():
    for measure, _ in MEASURED:
        assert measure(Measures()) is None


def test_other_events_count_nothing():
    assert counts_of(events.Stopped()) == ()


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "ok"),
        (204, "ok"),
        (400, "refused"),
        (403, "denied"),
        (404, "refused"),
        (413, "refused"),
        (429, "throttled"),
        (500, "error"),
        (503, "unavailable"),
    ],
)
def test_the_result_of_a_call_depends_on_its_status(status, result):
    assert measuring.result(status) == result


# The table and the parts of the server that it names


def test_names_and_units_follow_the_conventions():
    for family in FAMILIES:
        assert re.fullmatch(r"waypost_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert family.help.endswith(".")
        assert list(family.buckets) == sorted(set(family.buckets))
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
        for values in family.labels.values():
            assert len(set(values)) == len(values)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_table_has_all_operations_of_the_api():
    assert {*families.API_CALLS.labels["operation"]} == {*operations.OPERATIONS, families.OTHER}


def test_the_table_has_all_listeners_for_mail():
    names = {listener.name for listener in assembly.listeners(Settings())}
    assert {*families.SESSIONS_OPENED.labels["listener"]} == names


def test_the_table_has_all_states_of_a_session():
    receiving = connection._RECEIVING
    shown = {"data" if state in receiving else state.lower() for state in State} | {"opening"}
    assert {*families.SESSIONS.labels["state"]} == shown


@pytest.mark.parametrize("protocol", Protocol)
def test_the_table_has_all_kinds_of_routes(protocol):
    assert protocol in families.DELIVERED.labels["route"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("smtp://mx.example:25", "smtp"),
        ("smtps://mx.example", "smtp"),
        ("lmtp:///run/lmtp", "lmtp"),
        ("mx:", "mx"),
        ("mx:example.com", "mx"),
        ("maildir:/var/mail/support", "maildir"),
        ("http://127.0.0.1:1/hook", "webhook"),
        ("https://crm.example/hook", "webhook"),
    ],
)
def test_the_kind_of_a_route_is_the_scheme_of_its_destination(target, kind):
    assert routes.parse_target(target)
    assert counting.kind_of_route(target) == kind
    assert counting.kind_of_route(routes.log_destination(target)) == kind


NOT_REFUSALS = {"FAULT", "MAGIC"}
"""The beginnings of the names of replies that only servers for tests send."""


def test_each_permanent_refusal_has_a_reason():
    named = {name: reply for name, reply in vars(replies).items() if isinstance(reply, Reply)}
    others = {
        name
        for name, reply in named.items()
        if reply.code in (450, 452, 550, 552, 553) and counting.reason(str(reply)) == families.OTHER
    }
    assert others == set()
    assert counting.reason(str(replies.FAULT_NO_SERVICE)) == families.OTHER


def test_a_label_has_no_value_that_is_not_in_the_table():
    metrics = Arrays().of(0)
    for where in ("smtp", "asyncio", "a@example.com", "x" * 10_000):
        metrics.count(failed(events.Failed, where))
    assert value(metrics, families.INCIDENTS, families.OTHER) == 3
    assert "example.com" not in text(metrics)
    with pytest.raises(KeyError, match="listener=pop3"):
        families.SESSIONS_OPENED.bounded(["pop3"])


# Counting


def value(metrics, family, *labels):
    """Return the value of a counter or gauge, or the sum of a histogram."""
    return metrics.totals()[PLACES[family][labels] + width(family) - 1]


def text(metrics, gauges=(), accept=""):
    return page.rendered(metrics.totals(), gauges, accept)[0].decode()


def test_a_histogram_counts_values_up_to_each_bound():
    metrics = Arrays().of(0)
    for size in (1, 1, 2, 3, 256, 300):
        metrics.measures.commit(size, 0.0)
    (found,) = (family for family in parsed(text(metrics)) if family.name == families.COMMIT_WRITES.name)
    samples = {sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value for sample in found.samples}
    assert [samples[bound] for bound in ("1.0", "2.0", "4.0", "256.0", "+Inf")] == [2, 3, 4, 5, 6]
    assert (samples["count"], samples["sum"]) == (6, 563)


def test_the_event_is_counted_and_then_passed_on():
    metrics, logged = Arrays().of(0), []
    metrics.counting(logged.append)(events.LinesDropped(count=3))
    assert logged == [events.LinesDropped(count=3)]
    assert value(metrics, families.LOG_LINES_DROPPED) == 3


def test_no_count_is_lost_if_threads_count_at_the_same_time(monkeypatch):
    """Slow numbers make it certain that a thread is interrupted between reading a number and writing it."""

    class Slow:
        def __init__(self, numbers):
            self.numbers = numbers

        def __getitem__(self, place):
            number = self.numbers[place]
            time.sleep(0)
            return number

        def __setitem__(self, place, number):
            self.numbers[place] = number

    metrics = Arrays().of(0)
    metrics._own = Slow(metrics._own)
    threads = [
        threading.Thread(target=lambda: [metrics.count(events.LinesDropped(count=1)) for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, families.LOG_LINES_DROPPED) == 2000


def test_the_page_has_the_sum_of_all_processes():
    arrays = Arrays(workers=2)
    for process in (0, 1, 2):
        arrays.of(process).count(events.LinesDropped(count=process + 1))
    assert value(arrays.of(1), families.LOG_LINES_DROPPED) == 6


def test_a_worker_process_that_replaces_another_continues_to_count_but_has_gauges_of_its_own():
    arrays = Arrays(workers=2)
    for process in (1, 2):
        metrics = arrays.of(process)
        metrics.count(events.LinesDropped(count=1))
        metrics.put([(families.MEMORY_USED, (), 100.0), (families.SESSIONS, ("data",), 5.0)])
    assert value(metrics, families.MEMORY_USED) == 200
    arrays.drop_gauges(1)
    assert value(metrics, families.MEMORY_USED) == 100
    assert value(metrics, families.SESSIONS, "data") == 5
    arrays.of(2)
    assert value(metrics, families.MEMORY_USED) == 0
    assert value(metrics, families.LOG_LINES_DROPPED) == 2


def test_no_series_shares_a_number_with_another():
    places = sorted((place, place + width(family)) for family, series in PLACES.items() for place in series.values())
    assert all(end == start for (_, end), (start, _) in pairwise(places))


# The page

GAUGES = [(family, labels, 1.5) for family in FAMILIES if family.kind is Kind.GAUGE for labels in family.series]


@pytest.mark.parametrize("accept", ["", "text/plain", "*/*", OPENMETRICS])
def test_the_page_has_every_series_of_the_table(accept):
    metrics = Arrays().of(0)
    for happened, _ in COUNTED:
        metrics.count(happened)
    body, media_type = page.rendered(metrics.totals(), GAUGES, accept)
    is_open = accept == OPENMETRICS
    assert media_type.startswith("application/openmetrics-text" if is_open else "text/plain; version=")
    found = {
        (sample.name, tuple(value for label, value in sample.labels.items() if label != "le"))
        for family in (parsed_openmetrics if is_open else parsed)(body.decode())
        for sample in family.samples
    }
    for family in FAMILIES:
        names = [f"{family.name}_{each}" for each in ("bucket", "count", "sum")] if family.buckets else [family.name]
        assert found >= {(name, labels) for name in names for labels in family.series}
    assert {name for name, _ in found if not name.startswith("waypost_")} == set()


def test_the_page_is_in_openmetrics_only_if_the_client_asks_for_it():
    metrics = Arrays().of(0)
    assert text(metrics, accept=OPENMETRICS).endswith("# EOF\n")
    assert "# EOF" not in text(metrics)


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize("version", ["abc", "1.x", "99", "9" * 5000, "1." * 2000, '1.0.0"'])
def test_a_client_that_asks_for_a_version_that_does_not_exist_gets_the_default_format(kind, version):
    totals = Arrays().of(0).totals()
    default = page.rendered(totals, GAUGES, "")
    assert page.rendered(totals, GAUGES, f"{kind};version={version}") == default
    assert page.rendered(totals, GAUGES, f"{kind}; version = {version} ;q=0.5, */*") == default
    assert page.rendered(totals, GAUGES, f"{kind};version={version},{OPENMETRICS}")[0].endswith(b"# EOF\n")


def test_a_gauge_that_cannot_be_read_is_left_out():
    metrics = Arrays().of(0)
    assert families.DISK_FREE.name not in text(metrics)
    assert f"{families.DISK_FREE.name} 5.0" in text(metrics, [(families.DISK_FREE, (), 5.0)])


def test_the_page_has_the_version():
    assert f'waypost_build_info{{version="{waypost.__version__}"}} 1.0' in text(Arrays().of(0))


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain; version=1.0.0; escaping=dots",
        OPENMETRICS,
        "application/openmetrics-text; version=2.0.0, text/plain",
    ],
)
def test_the_media_type_of_a_page_selects_the_same_format_again(accept):
    """The page caches the texts of a format by its media type."""
    arrays = Arrays().of(0)
    page_, media_type = page.rendered(arrays.totals(), GAUGES, accept)
    assert page.rendered(arrays.totals(), GAUGES, media_type) == (page_, media_type)


def test_each_value_is_on_the_line_of_its_own_series():
    """Each number of the arrays is different, and the page is made of texts that were rendered for another page."""
    page.rendered(Arrays().totals(), GAUGES, "")
    totals = [float(number) for number in range(1, len(Arrays().totals()) + 1)]
    found = {
        (sample.name, tuple(value for label, value in sample.labels.items() if label != "le")): sample.value
        for family in parsed(page.rendered(totals, [], "")[0].decode())
        for sample in family.samples
    }
    for family, series in PLACES.items():
        for labels, place in series.items():
            if family.kind is not Kind.HISTOGRAM:
                assert found[family.name, labels] == totals[place]
                continue
            last = place + len(family.buckets) + 1
            assert (
                found[f"{family.name}_count", labels]
                == found[f"{family.name}_bucket", labels]
                == sum(totals[place:last])
            )
            assert found[f"{family.name}_sum", labels] == totals[last]
