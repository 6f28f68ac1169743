"""Sends spans to a collector, on a thread of its own. A collector that is down or hangs delays nothing else."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from waypost.observe.events import Emit, SpansLost
from waypost.observe.incidents import Incidents
from waypost.observe.measures import Measures
from waypost.observe.spans.spans import Span

MOST_WAITING = 8_192
"""The maximum number of spans that wait to be sent. Further spans are dropped and counted."""

AT_ONCE = 512
"""The maximum number of spans in one request, as in OpenTelemetry's own batch processor."""

SEND_EVERY = 0.5
"""Seconds between two checks for waiting spans. Waking the thread for each span would slow down mail."""

LOG_EVERY = 60.0
"""The least number of seconds between two log lines about lost spans."""

STOP_SECONDS = 2.0
"""The maximum number of seconds for which the end of the server waits until the last spans are sent."""


class Exporter(Protocol):
    """Sends spans to a collector. All methods except `close` are called on the sender's thread."""

    def export(self, spans: Sequence[Span]) -> str:
        """Send spans, and return why the collector did not take them; an empty string if it did. May take seconds."""
        ...

    def close(self) -> None:
        """Let a running `export` make no further attempt."""
        ...


class SpanSender:
    """Sends the spans of one process."""

    def __init__(
        self,
        exporter: Exporter,
        *,
        emit: Emit,
        measures: Measures,
        monotonic: Callable[[], float] = time.monotonic,
        every: float = SEND_EVERY,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._exporter = exporter
        self._emit = emit
        self._incidents = Incidents(emit, of_store=())
        self._measures = measures
        self._monotonic = monotonic
        self._every = every
        self._stop_seconds = stop_seconds
        self._waiting: deque[Span] = deque()
        self._counting = threading.Lock()
        """Held while spans move from one of these numbers to another, so that `stop` counts each span once."""
        self._dropped = 0
        """The number of spans that found the queue full, and that are not counted yet."""
        self._lost = 0
        """The number of lost spans that are not in the log yet."""
        self._sending = 0
        """The number of spans that the collector is being given."""
        self._has_given_up = False
        """Whether `stop` has logged all spans that are left as lost."""
        self._reason = ""
        self._logged_at = float("-inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waypost-spans", daemon=True)

    def start(self) -> None:
        """Start the thread. A process that forks must not have it, so each worker process starts its own."""
        self._thread.start()

    def add(self, span: Span) -> None:
        """Let a span be sent soon. Any thread may call this method. It never waits."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(span)
            return
        with self._counting:
            self._dropped += 1

    async def stop(self) -> None:
        """Send the spans that wait, but for at most `STOP_SECONDS`, and stop the thread."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join, self._stop_seconds)
        if not self._thread.is_alive():
            return
        self._exporter.close()
        # The thread is a daemon. It ends with the process at the latest. What it still has is lost.
        with self._counting:
            count = self._lost + self._dropped + self._sending + len(self._waiting)
            self._has_given_up = True
        if count:
            self._emit(SpansLost(count=count, reason="the server stops"))

    def _run(self) -> None:
        while not self._closing.wait(self._every):
            self._send_waiting()
            self._log_lost()
        self._send_waiting()
        self._log_lost(is_last=True)

    def _send_waiting(self) -> None:
        while batch := self._next_batch():
            try:
                reason = self._exporter.export(batch)
            except Exception as error:  # noqa: BLE001 - a bug must not end the thread
                self._incidents.report(error, where="spans")
                reason = "an internal error occurred"
            with self._counting:
                self._sending = 0
                self._note("failed" if reason else "sent", len(batch), reason)
            # While the collector is down, new spans may arrive faster than requests fail. Then this loop does not end.
            self._log_lost()

    def _next_batch(self) -> Sequence[Span]:
        """Return the spans for the next request, and count the spans that were dropped; no spans if none wait."""
        with self._counting:
            if self._has_given_up:
                return []
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._note("dropped", dropped, "too many spans wait")
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            self._sending = len(batch)
            return batch

    def _note(self, result: str, count: int, reason: str) -> None:
        self._measures.spans(result, count)
        if reason:
            self._lost += count
            self._reason = reason

    def _log_lost(self, *, is_last: bool = False) -> None:
        """Log the lost spans, at most once in a minute unless the thread ends."""
        is_due = is_last or self._monotonic() - self._logged_at >= LOG_EVERY
        with self._counting:
            if not self._lost or not is_due or self._has_given_up:
                return
            count, self._lost = self._lost, 0
        self._logged_at = self._monotonic()
        self._emit(SpansLost(count=count, reason=self._reason))
