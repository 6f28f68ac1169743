"""Makes the spans of a server: for each API call, each message that it accepts, and each attempt to deliver a message.

Spans contain no email addresses, subjects, peers or secrets. Each part of the server that makes spans is given a
`Spans` object, or None if the settings name no collector.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, auto

from msgspec import Struct

from waypost.observe.events import Emit, Event, MessageAccepted
from waypost.observe.metrics.counting import kind_of_route
from waypost.observe.metrics.measuring import result
from waypost.observe.spans import contexts
from waypost.observe.spans.contexts import Context

_SERVICE = "Connect"
"""The name of the API, as OpenTelemetry's conventions for AWS SDKs give it."""


class Kind(Enum):
    """Which side of a communication a span describes."""

    SERVER = auto()
    CLIENT = auto()


class Span(Struct, frozen=True, kw_only=True):
    """A piece of work that has ended."""

    name: str
    kind: Kind
    context: Context
    parent_id: str = ""
    """The id of the span that caused this one, in the same trace; empty if there is none."""
    is_parent_remote: bool = False
    """Whether another program, or a server at another time, made the parent."""
    begin: int
    """The time in nanoseconds since 1970."""
    end: int
    attributes: Mapping[str, str | int]
    error: str = ""
    """The kind of failure; empty if the work succeeded."""


class Spans:
    """Makes the spans of one process, and passes those of recorded traces on."""

    def __init__(self, add: Callable[[Span], None], *, ratio: float, clock: Callable[[], datetime]) -> None:
        """`add` takes each span. It must not wait, and several threads call it. `ratio` is the share of traces that are
        recorded, and `clock` the clock for mail.
        """
        self._add = add
        self._ratio = ratio
        self._clock = clock

    def following(self, emit: Emit) -> Emit:
        """Return a function that makes a span of the event of an accepted message, and passes each event to `emit`."""

        def followed(event: Event) -> None:
            if isinstance(event, MessageAccepted):
                self._accepted(event)
            emit(event)

        return followed

    def _accepted(self, event: MessageAccepted) -> None:
        context = contexts.of_acceptance(event.id, self._ratio)
        if context.is_sampled:
            begin = contexts.milliseconds_of(event.id) * 1_000_000
            self._add(
                Span(
                    name="accept message",
                    kind=Kind.SERVER,
                    context=context,
                    begin=begin,
                    end=max(begin, _nanoseconds(self._clock())),
                    attributes={
                        "waypost.message.id": event.id,
                        "waypost.message.size": event.size,
                        "waypost.message.recipients": event.recipients,
                    },
                )
            )

    def begin_attempt(self, delivery_id: str, message_id: str, *, number: int, was_accepted: bool) -> "AttemptSpan":
        """Return the span of an attempt to deliver a message, which begins now. `number` counts the attempts from 1.

        `was_accepted` is false if this server wrote the message, so that there is no span for its acceptance.
        """
        accepted = contexts.of_acceptance(message_id, self._ratio)
        return AttemptSpan(
            add=self._add,
            clock=self._clock,
            context=Context(accepted.trace_id, _new_id(8), accepted.is_sampled),
            parent_id=accepted.span_id if was_accepted else "",
            begin=_nanoseconds(self._clock()),
            delivery_id=delivery_id,
            number=number,
        )

    def call(
        self,
        operation: str,
        status: int,
        seconds: float,
        *,
        request_id: str,
        traceparent: str | None,
        is_authenticated: bool,
    ) -> None:
        """Make the span of an answered API call, like `Measures.api_call`. `traceparent` is the header field of the
        request.

        The span belongs to the trace of the caller, who also decides whether it is recorded. If the caller was not
        authenticated, the header field is ignored, because anyone could have sent it.
        """
        parent = contexts.read(traceparent) if traceparent and is_authenticated else None
        trace_id = parent.trace_id if parent else _new_id(16)
        is_sampled = parent.is_sampled if parent else contexts.is_sampled(trace_id, self._ratio)
        if not is_sampled:
            return
        end = time.time_ns()
        found = result(status)
        attributes: dict[str, str | int] = {
            "rpc.system": "aws-api",
            "rpc.service": _SERVICE,
            "http.response.status_code": status,
            "aws.request_id": request_id,
            "waypost.call.result": found,
        }
        if operation:
            attributes["rpc.method"] = operation
        self._add(
            Span(
                name=f"{_SERVICE}/{operation}" if operation else _SERVICE,
                kind=Kind.SERVER,
                context=Context(trace_id, _new_id(8), is_sampled),
                parent_id=parent.span_id if parent else "",
                is_parent_remote=True,
                begin=end - round(seconds * 1e9),
                end=end,
                attributes=attributes,
                error=found if status >= 500 else "",  # a refused call is no failure of the server
            )
        )


class AttemptSpan(Struct, frozen=True, kw_only=True):
    """The span of an attempt that is in progress."""

    add: Callable[[Span], None]
    clock: Callable[[], datetime]
    context: Context
    parent_id: str
    begin: int
    delivery_id: str
    number: int

    @property
    def traceparent(self) -> str:
        """The context of the span, as the value of a `traceparent` header field for the peer."""
        return self.context.traceparent

    def end(self, destination: str, *, then: str, stage: str, code: int, trouble: str) -> None:
        """End the span. The arguments are those of the events about attempts; `destination` has no path, and `then` is
        what happens to the delivery next.
        """
        if not self.context.is_sampled:
            return
        route = kind_of_route(destination)
        attributes: dict[str, str | int] = {
            "waypost.delivery.id": self.delivery_id,
            "waypost.delivery.attempt": self.number,
            "waypost.delivery.destination": destination,
            "waypost.delivery.route": route,
            "waypost.delivery.result": then,
            "waypost.delivery.stage": stage,
        }
        if code:
            attributes["waypost.delivery.code"] = code
        self.add(
            Span(
                name=f"attempt {route}",
                kind=Kind.CLIENT,
                context=self.context,
                parent_id=self.parent_id,
                is_parent_remote=True,
                begin=self.begin,
                end=max(self.begin, _nanoseconds(self.clock())),
                attributes=attributes,
                error="" if then == DELIVERED else trouble or str(code),
            )
        )


DELIVERED = "delivered"
"""What follows from an attempt that succeeded."""


def _new_id(octets: int) -> str:
    return os.urandom(octets).hex()


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
