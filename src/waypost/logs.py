"""Writes events to the log: lines for people on a terminal, JSON elsewhere, always on standard error."""

import dataclasses
import re
import sys

import structlog

from waypost import events


def emitter() -> events.Emit:
    """An `Emit` that writes each event as one log line."""
    log = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(),
        ],
    )

    def emit(event: events.Event) -> None:
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
        cause = fields.pop("cause", None)
        if cause is None:
            log.info(name, **fields)
        else:
            log.error(name, exc_info=cause, **fields)

    return emit


def _renderers() -> list[structlog.typing.Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
