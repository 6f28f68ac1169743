"""Spans reach a collector by OTLP, and it is known why one does not take them."""

import socket

import pytest

from tests.kit.peers.collector import Collector
from tests.observe.test_spans import MESSAGE_ID, PARENT, SPAN_ID, TRACE_ID
from waypost.observe.spans import contexts
from waypost.observe.spans.contexts import Context
from waypost.observe.spans.otlp import OtlpExporter
from waypost.observe.spans.spans import Kind, Span

ACCEPTANCE = Span(
    name="accept message",
    kind=Kind.SERVER,
    context=contexts.of_acceptance(MESSAGE_ID, 1.0),
    begin=1_796_126_400_250_000_000,
    end=1_796_126_400_270_000_000,
    attributes={"waypost.message.id": MESSAGE_ID, "waypost.message.size": 4096},
)
ATTEMPT = Span(
    name="attempt smtp",
    kind=Kind.CLIENT,
    context=Context(ACCEPTANCE.context.trace_id, "a" * 16, True),
    parent_id=ACCEPTANCE.context.span_id,
    is_parent_remote=True,
    begin=1_796_126_400_300_000_000,
    end=1_796_126_400_400_000_000,
    attributes={},
    error="450",
)


def exporter(url):
    return OtlpExporter(f"{url}/v1/traces", resource={"host.name": "mx.example"})


def test_spans_arrive_with_their_ids_times_and_attributes():
    with Collector() as collector:
        assert exporter(collector.url).export([ACCEPTANCE, ATTEMPT]) == ""
    acceptance, attempt = collector.spans
    for sent, got in ((ACCEPTANCE, acceptance), (ATTEMPT, attempt)):
        assert (got.name, got.trace_id, got.span_id) == (sent.name, sent.context.trace_id, sent.context.span_id)
        assert (got.begin, got.end, got.parent_id) == (sent.begin, sent.end, sent.parent_id)
    assert (acceptance.kind, attempt.kind) == (2, 3)  # SPAN_KIND_SERVER and SPAN_KIND_CLIENT
    assert acceptance.attributes == ACCEPTANCE.attributes
    assert attempt.attributes == {"error.type": "450"}
    assert (acceptance.is_error, attempt.is_error) == (False, True)
    assert acceptance.resource["service.name"] == "waypost"
    assert acceptance.resource["host.name"] == "mx.example"
    assert collector.requests[0][0] == "/v1/traces"


def test_a_span_with_a_parent_of_another_program_arrives_as_its_child():
    parent = contexts.read(PARENT)
    span = Span(
        name="Connect/DescribeEmailAddress",
        kind=Kind.SERVER,
        context=Context(parent.trace_id, "b" * 16, True),
        parent_id=parent.span_id,
        is_parent_remote=True,
        begin=1,
        end=2,
        attributes={},
    )
    with Collector() as collector:
        exporter(collector.url).export([span])
    (got,) = collector.spans
    assert (got.trace_id, got.parent_id, got.span_id) == (TRACE_ID, SPAN_ID, "b" * 16)


def test_the_environment_variables_of_opentelemetry_apply(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mail-eu")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # this one does not: the server has decided already
    with Collector() as collector:
        assert exporter(collector.url).export([ACCEPTANCE]) == ""
    (got,) = collector.spans
    assert got.resource["service.name"] == "mail-eu"
    assert got.resource["deployment.environment.name"] == "test"
    assert got.resource["host.name"] == "mx.example"
    assert collector.requests[0][1]["api-key"] == "s3cret"


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_names_the_status(status):
    with Collector(status=status) as collector:
        assert exporter(collector.url).export([ACCEPTANCE]) == f"the collector answered with the HTTP status {status}"


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_is_not_followed(monkeypatch, status):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
    with Collector() as other, Collector(status=status, location=f"{other.url}/v1/traces") as collector:
        assert exporter(collector.url).export([ACCEPTANCE]) == f"the collector answered with the HTTP status {status}"
    assert len(collector.requests) == 1
    assert other.requests == []


def test_no_password_of_the_user_is_sent(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login waypost password s3cret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Collector() as collector:
        assert exporter(collector.url).export([ACCEPTANCE]) == ""
    assert "Authorization" not in collector.requests[0][1]


def test_the_reason_is_known_if_the_collector_hangs_or_is_down(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")  # seconds
    with Collector(hangs=True) as collector:
        assert exporter(collector.url).export([ACCEPTANCE]) == "the collector did not answer in time"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens here
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert exporter(url).export([ACCEPTANCE]) == "the collector cannot be reached"


def test_an_exporter_that_was_closed_sends_nothing():
    with Collector() as collector:
        closed = exporter(collector.url)
        closed.close()
        assert closed.export([ACCEPTANCE]) == "the collector did not take them"
    assert collector.spans == []
