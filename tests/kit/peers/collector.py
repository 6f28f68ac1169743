"""A collector of OpenTelemetry: it receives spans by OTLP over HTTP, and decodes them with OpenTelemetry's own schema.

with Collector() as collector:
    ... --otel-traces collector.url ...
    span = collector.wait_for(lambda span: span.name == "accept message")
"""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.kit.patience import PATIENCE, wait_until


@dataclass(frozen=True)
class Received:
    """One span, with its ids in hexadecimal digits."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    begin: int
    end: int
    attributes: dict
    is_error: bool
    resource: dict
    text: str
    """The whole span in words, in which a test can search for what must not be there. Ids are left out."""


class Collector:
    """A collector on loopback. `status` is the HTTP status of its answers, and `hangs` keeps it from answering.
    `location` is the URL to which its answers redirect, if the status says so.
    """

    def __init__(self, *, status=200, hangs=False, location=""):
        self.status = status
        self.location = location
        self.spans = []
        self.requests = []
        self.may_answer = threading.Event()
        if not hangs:
            self.may_answer.set()
        handler = type("Handler", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, wanted, count=1):
        """Return the spans for which `wanted` returns true, as soon as there are `count` of them."""

        def found():
            spans = [span for span in self.spans if wanted(span)]
            return spans if len(spans) >= count else None

        return wait_until(found, lambda: f"received: {[(span.name, span.attributes) for span in self.spans]}")


class _Handler(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self):
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        collector = self.collector
        collector.requests.append((self.path, dict(self.headers)))
        assert collector.may_answer.wait(PATIENCE)
        if collector.status == 200:
            collector.spans += decoded(octets)
        self.send_response(collector.status)
        self.send_header("Content-Length", "0")
        if collector.location:
            self.send_header("Location", collector.location)
        self.end_headers()

    def log_message(self, *_):
        pass


def decoded(octets):
    """Yield the spans in the body of a request."""
    request = ExportTraceServiceRequest.FromString(octets)
    for of_resource in request.resource_spans:
        resource = _values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Received(
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    begin=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_values(span.attributes),
                    is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                    resource=resource,
                    text=f"{span.name} {span.attributes} {span.events} {span.links} {span.status} {span.trace_state}",
                )


def _values(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
