"""The part of a service that makes spans for OpenTelemetry and sends them to a collector, if the settings name one."""

import importlib.util

from waypost.app import ports
from waypost.config.settings import Settings
from waypost.observe import events
from waypost.observe.measures import Measures
from waypost.observe.spans.sender import SpanSender
from waypost.observe.spans.spans import Spans
from waypost.server import runtime
from waypost.server.opening import CannotStart

NOT_INSTALLED = (
    "--otel-traces needs packages that are not installed. Install them with: pip install 'waypost[otel]', or remove "
    "the setting."
)


def is_installed() -> bool:
    """Return whether the packages of the extra `waypost[otel]` are installed. Imports none of them."""
    try:
        found = [importlib.util.find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter.otlp.proto.http")]
    except ModuleNotFoundError:
        return False
    return all(found)


def sender(settings: Settings, *, process: int, emit: events.Emit, measures: Measures) -> SpanSender | None:
    """Return the part that sends spans, which is not started yet; None if the settings name no collector.

    `process` is the number of the worker process; 0 if the server is one process. Raises `CannotStart`.
    """
    if not settings.otel_traces:
        return None
    try:
        from waypost.observe.spans.otlp import OtlpExporter  # noqa: PLC0415 - its packages are optional
    except ImportError as error:
        raise CannotStart(NOT_INSTALLED) from error
    runtime.silence("opentelemetry")  # the sender logs what fails, at a bounded rate
    name = settings.real_hostname
    resource = {"host.name": name, "service.instance.id": f"{name}/{process}" if process else name}
    exporter = OtlpExporter(settings.otel_traces, resource=resource)
    return SpanSender(exporter, emit=emit, measures=measures)


def spans(settings: Settings, sender: SpanSender | None, *, clock: ports.Clock) -> Spans | None:
    """Return the part that makes spans; None if nothing sends them. `clock` is the clock for mail."""
    return Spans(sender.add, ratio=settings.otel_sampling, clock=clock) if sender else None
