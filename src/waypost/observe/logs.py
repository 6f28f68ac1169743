"""Write events to the log: to a file or to standard error, as readable lines or as JSON."""

import json
import logging
import os
import re
import select
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from waypost.observe import events, log_output
from waypost.observe.incidents import Incidents
from waypost.observe.log_options import Format, Level, LogOptions

Render = Callable[[datetime, Level, Any], bytes]
"""A function that turns an event's time, its log level and its fields into the bytes of a log line."""

BACKLOG = 10_000
"""The maximum number of log lines that may wait to be written. Further lines are dropped and counted, because logging
must never delay mail.
"""

WRITE_EVERY = 0.1
"""The number of seconds between two checks for waiting lines.

Lines are made and written together, because that takes less time, and because waking the log's thread for each line
would slow down mail.
"""

STANDARD = LogOptions()


class Log:
    """A log that writes each event as a line, on a thread of its own."""

    def __init__(
        self,
        options: LogOptions = STANDARD,
        *,
        worker: int = 0,
        has_thread: bool = True,
        count: events.Emit = lambda _: None,
    ) -> None:
        """`worker` is the number of the worker process that writes the log. Each line shows this number, unless it is
        zero.

        If `has_thread` is false, `emit` itself writes the waiting lines, unless nobody reads them at the moment. The
        supervisor, which must not have threads, writes its few lines in this way. `count` is called at once with the
        number of lines that were dropped. Raises `OSError` if the log file cannot be opened.
        """
        self._has_thread = has_thread
        self._count = count
        self._of_process = {"worker": worker} if worker else {}
        self._waiting: deque[bytes | tuple[datetime, events.Event]] = deque()
        """The waiting lines, and the events whose lines are made when they are written."""
        self._dropped = 0
        self._counting = threading.Lock()
        """The lock that protects the count of dropped lines. It is needed because several threads emit events."""
        self._closing = threading.Event()
        self._output = log_output.open_output(options.file)
        self._use(options)
        self._wanted: deque[LogOptions] = deque()
        """The options with which the output must be opened again; empty if it is open as it should be."""
        self._thread = threading.Thread(target=self._write, name="waypost-log", daemon=True)
        if has_thread:
            self._thread.start()

    def emit(self, event: events.Event) -> None:
        """Log an event, unless its level is too low. This method never raises and never waits, even if the log cannot
        be written.
        """
        try:
            if self._least and _RANKS[level_of(event)] < self._least:
                return
            if len(self._waiting) < BACKLOG:
                now = datetime.now(UTC)
                # A waiting exception would keep all the objects of its traceback in memory.
                self._waiting.append(self._line(now, event) if hasattr(event, "cause") else (now, event))
                if not self._has_thread and select.select([], [self._output], [], 0)[1]:
                    self._write_waiting()
                return
        except Exception:  # noqa: BLE001, S110 - the line is counted as dropped, below
            pass
        self._drop(1)

    def reopen(self, options: LogOptions) -> None:
        """Open the log file again, because another program may have renamed it, and continue with these options.

        No line is lost: lines that wait are written to the new file. If it cannot be opened, the log continues with
        the old file, and logs this. The log's thread opens the file, so this method never waits.
        """
        self._least = _RANKS[options.level]
        self._wanted.append(options)
        if not self._has_thread:
            self._reopen()

    def close_inherited(self) -> None:
        """Close the log file in a forked process, which has a log of its own. Otherwise the file would stay open after
        it is rotated.
        """
        self._output.close()

    def _use(self, options: LogOptions) -> None:
        self._least = _RANKS[options.level]
        is_text = options.format is Format.TEXT or (options.format is Format.AUTO and self._output.is_terminal)
        render = _text(has_colours=self._output.is_terminal) if is_text else _json()
        self._render = _for_journal(render) if self._output.is_journal else render

    def _reopen(self) -> None:
        options = None
        while self._wanted:
            options = self._wanted.popleft()
        if options is None:
            return
        try:
            output = log_output.open_output(options.file)
        except OSError as error:
            self.emit(events.LogFileRefused(file=str(options.file), reason=error.strerror or ""))
        else:
            self._output.close()
            self._output = output
        self._use(options)

    def _drop(self, count: int, *, earlier: int = 0) -> None:
        """Note that `count` lines were dropped, and that the drop of `earlier` ones is still not in the log."""
        with self._counting:
            self._dropped += count + earlier
        self._count(events.LinesDropped(count=count))

    def close(self) -> None:
        """Write the waiting lines, and stop the thread. The method returns after at most two seconds."""
        self._closing.set()
        if self._has_thread:
            self._thread.join(timeout=2)

    def _line(self, moment: datetime, event: events.Event) -> bytes:
        kind: Any = type(event)
        name, field_names = _described(kind)
        line = {"event": name, **self._of_process}
        for field in field_names:
            line[field] = getattr(event, field)
        if "cause" in line:
            line = {"exc_info": line.pop("cause"), **line}
        return self._render(moment, level_of(event), line)

    def _write(self) -> None:
        """Write the waiting lines repeatedly until the log is closed. This method runs on the log's own thread."""
        closing = False
        while not closing:
            closing = self._closing.wait(WRITE_EVERY)
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Write all waiting lines, to the file that is wanted now. Drop lines that cannot be written, and log their
        number at the next write.
        """
        waiting_lines = len(self._waiting)
        self._reopen()  # after counting, so that a line that was emitted after `reopen` is in the new file
        lines = []
        for _ in range(waiting_lines):
            waiting = self._waiting.popleft()
            try:
                lines.append(waiting if isinstance(waiting, bytes) else self._line(*waiting))
            except Exception:  # noqa: BLE001 - an event that cannot be written
                self._drop(1)
        count = len(lines)
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(self._line(datetime.now(UTC), events.LinesDropped(count=dropped)))
        if not lines:
            return
        try:
            self._output.write(b"".join(lines))
        except (OSError, ValueError):
            self._drop(count, earlier=dropped)


class LibraryErrors(logging.Handler):
    """A `logging` handler that reports errors from the HTTP server and the event loop as events."""

    def __init__(self, emit: events.Emit) -> None:
        super().__init__(logging.ERROR)
        self._incidents = Incidents(emit, of_store=())

    def emit(self, record: logging.LogRecord) -> None:
        """Report the error in a log record as an incident. The `logging` module calls this method."""
        cause = record.exc_info[1] if record.exc_info else None
        if isinstance(cause, events.AlreadyReported):
            return
        cause = cause or RuntimeError(record.getMessage())
        self._incidents.report(cause, where=record.name)


@cache
def _described(kind: type[Any]) -> tuple[str, tuple[str, ...]]:
    """Return the name that events of this class have in the log, and the names of their fields."""
    return name_of(kind), kind.__struct_fields__


def level_of(event: events.Event) -> Level:
    """Return the level of an event. An event that says that something works again is no warning."""
    kind: Any = type(event)
    level = _level_of_kind(kind)
    return Level.INFO if level is Level.WARNING and getattr(event, "works", False) else level


@cache
def _level_of_kind(kind: Any) -> Level:
    if "cause" in _described(kind)[1]:
        return Level.ERROR
    return Level.WARNING if kind in events.WARNINGS else Level.INFO


_RANKS = {level: rank for rank, level in enumerate(Level)}
"""The levels in their order. The rank of the lowest level is 0."""


def name_of(kind: type[Any]) -> str:
    """Return the name that events of this class have in the log."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def _for_journal(render: Render) -> Render:
    return lambda moment, level, line: log_output.with_priority(render(moment, level, line), level)


def _text(*, has_colours: bool) -> Render:
    is_plain = not has_colours or bool(os.environ.get("NO_COLOR"))  # https://no-color.org

    def styled(text: str, code: str) -> str:
        return text if is_plain else f"\x1b[{code}m{text}\x1b[0m"

    def render(moment: datetime, level: Level, line: Any) -> bytes:
        cause = line.pop("exc_info", None)
        timestamp = moment.isoformat().replace("+00:00", "Z")
        parts = [
            styled(timestamp, "2"),
            f"[{styled(f'{level:<7}', _STYLES[level])}]",
            styled(f"{line.pop('event'):<24}", "1"),
            *(f"{styled(name, '36')}={_shown(value)}" for name, value in line.items()),
        ]
        return "".join([" ".join(parts).rstrip(), *_traceback(cause), "\n"]).encode()

    return render


_STYLES = {Level.INFO: "32", Level.WARNING: "33", Level.ERROR: "31"}
"""The colours of the log levels on a terminal, as parameters of a control sequence."""


def _shown(value: Any) -> str:
    """Return a field's value for a terminal. Text with spaces, quotes or control characters is quoted and escaped."""
    text = str(value)
    return text if text.isprintable() and not re.search(r"[\s'\"=]", text) and text else repr(text)


def _traceback(cause: BaseException | None) -> Iterator[str]:
    """Yield the lines of an exception's traceback for a terminal.

    An error's text can come from a client, so its lines are indented to distinguish them from other log lines. Control
    characters are replaced, so that the text cannot move the cursor.
    """
    for line in "".join(traceback.format_exception(cause)).splitlines() if cause else ():
        shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
        yield f"\n    {shown}"


def _json() -> Render:
    def render(moment: datetime, level: Level, line: Any) -> bytes:
        cause = line.pop("exc_info", None)
        line["level"], line["timestamp"] = level.value, moment
        if cause is not None:
            line["exception"] = "".join(traceback.format_exception(cause)).removesuffix("\n")
        encoded = msgspec.json.encode(line)
        if not encoded.isascii():  # non-ASCII includes control characters, and people read logs on terminals
            encoded = json.dumps(msgspec.json.decode(encoded)).encode()
        return encoded + b"\n"

    return render
