"""Writes events to the log: lines for people on a terminal, JSON elsewhere, always on standard error."""

import dataclasses
import logging
import re
import sys
import uuid
from functools import cache
from typing import Any

import msgspec
import structlog

from waypost import events


def emitter() -> events.Emit:
    """An `Emit` that writes each event as one log line. From then on, nothing else writes to the log."""
    log = _terminal_log() if sys.stderr.isatty() else _json_log()

    def emit(event: events.Event) -> None:
        kind: Any = type(event)
        name, field_names = _described(kind)
        fields = {field: getattr(event, field) for field in field_names}
        cause = fields.pop("cause", None)
        if cause is None:
            log.info(name, **fields)
        else:
            log.error(name, exc_info=cause, **fields)

    logging.basicConfig(handlers=[_Complaints(emit)], force=True)
    return emit


class _Complaints(logging.Handler):
    """Turns what the HTTP server and the event loop log as errors into events; the rest of it is not ours to tell."""

    def __init__(self, emit: events.Emit) -> None:
        super().__init__(logging.ERROR)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        cause = record.exc_info[1] if record.exc_info else None
        cause = cause or RuntimeError(record.getMessage())
        self._emit(events.Failed(where=record.name, id=str(uuid.uuid4()), cause=cause))


@cache
def _described(kind: type[Any]) -> tuple[str, tuple[str, ...]]:
    """What an event is called in the log, and its fields."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
    return name, tuple(field.name for field in dataclasses.fields(kind))


def _terminal_log() -> Any:
    # A plain traceback: the pretty ones show local variables, and those hold messages and secrets.
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return structlog.wrap_logger(structlog.WriteLogger(sys.stderr), processors=[*_common_processors(), renderer])


def _json_log() -> Any:
    renderer = structlog.processors.JSONRenderer(serializer=lambda line, **_: msgspec.json.encode(line))
    return structlog.wrap_logger(
        structlog.BytesLogger(sys.stderr.buffer),
        processors=[*_common_processors(), structlog.processors.format_exc_info, renderer],
    )


def _common_processors() -> list[structlog.typing.Processor]:
    return [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
