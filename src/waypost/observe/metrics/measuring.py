"""Counts measurements in the array of a process.

The methods are called for each API call and each transaction, so they look up the places of a series once, and build no
objects. They need no lock: they are called on the event loop only, and no event counts in the same series.
"""

from bisect import bisect_left
from collections.abc import Mapping

from waypost.observe.measures import Measures
from waypost.observe.metrics import families
from waypost.observe.metrics.counting import kind_of_route
from waypost.observe.metrics.families import OTHER
from waypost.observe.metrics.places import PLACES

_SECONDS = families.API_SECONDS.buckets
_ATTEMPT = families.ATTEMPT_SECONDS.buckets
_COMMIT_SECONDS = families.COMMIT_SECONDS.buckets
_COMMIT_WRITES = families.COMMIT_WRITES.buckets

_SECONDS_SUM, _ATTEMPT_SUM, _COMMIT_SECONDS_SUM, _COMMIT_WRITES_SUM = (
    len(buckets) + 1 for buckets in (_SECONDS, _ATTEMPT, _COMMIT_SECONDS, _COMMIT_WRITES)
)
"""The place of the sum in the numbers of a histogram, which follows the buckets."""

_COMMIT_SECONDS_AT = PLACES[families.COMMIT_SECONDS][()]
_COMMIT_WRITES_AT = PLACES[families.COMMIT_WRITES][()]


def result(status: int) -> str:
    """Return the kind of result of a call, from the HTTP status of its response."""
    if status < 400:
        return "ok"
    return _RESULTS.get(status) or ("refused" if status < 500 else "error")


_RESULTS: Mapping[int, str] = {403: "denied", 429: "throttled", 503: "unavailable"}

_CALLS: dict[tuple[str, int], tuple[int, int]] = {}
"""The places of the counter and of the histogram of a call, by operation and status. Both have few values."""


def _places_of_call(operation: str, status: int) -> tuple[int, int]:
    labels = families.API_CALLS.bounded([operation or OTHER, result(status)])
    places = PLACES[families.API_CALLS][labels], PLACES[families.API_SECONDS][labels[:1]]
    if labels[0] == operation or not operation:
        _CALLS[operation, status] = places
    return places


class Counted(Measures):
    """Counts the measurements of one process."""

    def __init__(self, own: "memoryview[float]") -> None:
        self._own = own

    def api_call(self, operation: str, status: int, seconds: float) -> None:
        own = self._own
        count, start = _CALLS.get((operation, status)) or _places_of_call(operation, status)
        own[count] += 1.0
        own[start + bisect_left(_SECONDS, seconds)] += 1.0
        own[start + _SECONDS_SUM] += seconds

    def attempt(self, destination: str, seconds: float) -> None:
        own, start = self._own, PLACES[families.ATTEMPT_SECONDS][kind_of_route(destination),]
        own[start + bisect_left(_ATTEMPT, seconds)] += 1.0
        own[start + _ATTEMPT_SUM] += seconds

    def commit(self, writes: int, seconds: float) -> None:
        own = self._own
        own[_COMMIT_SECONDS_AT + bisect_left(_COMMIT_SECONDS, seconds)] += 1.0
        own[_COMMIT_SECONDS_AT + _COMMIT_SECONDS_SUM] += seconds
        own[_COMMIT_WRITES_AT + bisect_left(_COMMIT_WRITES, writes)] += 1.0
        own[_COMMIT_WRITES_AT + _COMMIT_WRITES_SUM] += writes

    def session_opened(self, listener: str) -> None:
        self._own[PLACES[families.SESSIONS_OPENED][listener,]] += 1.0

    def session_closed(self, listener: str) -> None:
        self._own[PLACES[families.SESSIONS_CLOSED][listener,]] += 1.0

    def tls_made(self, protocol: str, version: str) -> None:
        labels = families.TLS_HANDSHAKES.bounded([protocol, "ok", version])
        self._own[PLACES[families.TLS_HANDSHAKES][labels]] += 1.0

    def spans(self, result: str, count: int) -> None:
        self._own[PLACES[families.SPANS][result,]] += count

    def probed(self, result: str) -> None:
        self._own[PLACES[families.PROBES][result,]] += 1.0
