"""The context of a span: which trace and which span it is, and whether it is recorded. All functions are pure.

The context of a message follows from its id, so it needs no storage: another server finds it too, and days later. The
trace id is the message id without hyphens. Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

import hashlib
import re

from msgspec import Struct

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)

_RANDOM = 1 << 56
"""The number of values of the random bits of a trace id, which are its last 56 bits (W3C Trace Context, level 2). Of a
message id, the last 62 bits are random.
"""

_SAMPLED = 0x01


class Context(Struct, frozen=True):
    """The identity of a span, as other spans and other programs refer to it."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    is_sampled: bool
    """Whether the spans of the trace are recorded."""

    @property
    def traceparent(self) -> str:
        """The context as the value of a `traceparent` header field."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


def read(traceparent: str) -> Context | None:
    """Return the context in the value of a `traceparent` header field, or None if the value is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Context(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def of_acceptance(message_id: str, ratio: float) -> Context:
    """Return the context of the span for the acceptance of a message. `ratio` is the share of recorded traces."""
    trace_id = trace_of(message_id)
    span_id = hashlib.sha256(f"acceptance {message_id}".encode()).hexdigest()[:16]
    return Context(trace_id, span_id, is_sampled(trace_id, ratio))


def trace_of(message_id: str) -> str:
    """Return the trace id of a message."""
    return message_id.replace("-", "")


def milliseconds_of(message_id: str) -> int:
    """Return the time at which the server began to receive a message, in milliseconds since 1970. A message id begins
    with this time, because it is a UUIDv7 (RFC 9562 section 5.7).
    """
    return int(trace_of(message_id)[:12], 16)


def is_sampled(trace_id: str, ratio: float) -> bool:
    """Return whether a trace is among the recorded share. The answer depends only on the random bits of the trace id,
    so all servers with the same ratio record the same traces.

    OpenTelemetry's own `TraceIdRatioBased` cannot decide this, because it compares the last 64 bits, and in a message
    id the first two of these are constant.
    """
    return int(trace_id, 16) % _RANDOM >= round((1 - ratio) * _RANDOM)
