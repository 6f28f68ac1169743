"""Sends spans to a collector with the packages of OpenTelemetry, by OTLP over HTTP.

Only this module imports these packages, which are the extra `waypost[otel]`. It uses their public interfaces alone, so
it makes a span of the SDK by beginning and ending one with the times, ids and attributes of the span that it sends.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from requests.adapters import HTTPAdapter

import waypost
from waypost.observe.spans.contexts import Context
from waypost.observe.spans.spans import Kind, Span

_KINDS = {Kind.SERVER: trace.SpanKind.SERVER, Kind.CLIENT: trace.SpanKind.CLIENT}


class OtlpExporter:
    """Sends spans to the collector at a URL.

    OpenTelemetry's environment variables for the exporter (such as `OTEL_EXPORTER_OTLP_HEADERS`) and for the resource
    (such as `OTEL_SERVICE_NAME`) apply.
    """

    def __init__(self, url: str, *, resource: Mapping[str, str]) -> None:
        """`resource` describes the server."""
        session = requests.Session()
        session.max_redirects = 0  # the header fields, which may have a key, are for this collector alone
        session.auth = _no_credentials  # or else `requests` reads them from ~/.netrc
        self._reason = _Reason()
        for scheme in ("http://", "https://"):
            session.mount(scheme, self._reason)
        self._exporter = OTLPSpanExporter(endpoint=url, session=session)
        self._ids = _Ids()
        self._ended = _Ended()
        own = Resource({"service.name": "waypost", "service.version": waypost.__version__, **resource})
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # spans of traces that are not recorded do not come here
            resource=own.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("waypost", waypost.__version__)

    def export(self, spans: Sequence[Span]) -> str:
        """Send spans, and return why the collector did not take them; an empty string if it did."""
        for span in spans:
            self._make(span)
        made, self._ended.spans = self._ended.spans, []
        self._reason.text = ""
        if self._exporter.export(made) is SpanExportResult.SUCCESS:
            return ""
        return self._reason.text or "the collector did not take them"

    def close(self) -> None:
        """Let a running `export` make no further attempt."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the package does not annotate it

    def _make(self, span: Span) -> None:
        """Make a span of the SDK, which `_ended` then has."""
        self._ids.next = span.context
        made = self._tracer.start_span(
            span.name,
            context=_parent(span),
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            start_time=span.begin,
        )
        if span.error:
            made.set_attribute("error.type", span.error)
            made.set_status(trace.StatusCode.ERROR)
        made.end(span.end)


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return a request as it is, without credentials."""
    return request


def _parent(span: Span) -> Any:
    """Return the SDK's context with the parent of a span; an empty one if the span has no parent."""
    if not span.parent_id:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    parent = trace.SpanContext(
        trace_id=int(span.context.trace_id, 16),
        span_id=int(span.parent_id, 16),
        is_remote=span.is_parent_remote,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


class _Ids(IdGenerator):
    """Gives the SDK the ids of the span that is being made."""

    next: Context

    def generate_span_id(self) -> int:
        """Return the id of the span."""
        return int(self.next.span_id, 16)

    def generate_trace_id(self) -> int:
        """Return the id of the span's trace. The SDK asks only for a span without a parent."""
        return int(self.next.trace_id, 16)


class _Ended(SpanProcessor):
    """Collects the spans of the SDK."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        self.spans.append(span)


class _Reason(HTTPAdapter):
    """Notes why requests fail. The exporter of OpenTelemetry only logs this, with text that may contain the URL."""

    text = ""
    """Why the last request failed; empty if it did not."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request."""
        self.text = ""
        try:
            response = super().send(*arguments, **options)
        except requests.exceptions.SSLError:
            self.text = "the TLS connection to the collector failed"
            raise
        except requests.exceptions.Timeout:
            self.text = "the collector did not answer in time"
            raise
        except OSError:  # also for a file with certificates that cannot be read
            self.text = "the collector cannot be reached"
            raise
        if response.status_code >= 300:
            self.text = f"the collector answered with the HTTP status {response.status_code}"
        return response
