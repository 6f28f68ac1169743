"""Refused connections and failed TLS handshakes in the log: few lines, and none is left out of the count."""

import pytest

from tests.kit.servers.connection_clock import Clock, LoopWithClock
from waypost.observe import rate_limited_log
from waypost.observe.events import ConnectionsRefused
from waypost.observe.rate_limited_log import LOG_EVERY, LOGGED_EACH, RefusedConnections, TlsFailures


@pytest.fixture
def clock(monkeypatch):
    """A clock for the timers."""
    made = Clock()
    monkeypatch.setattr(rate_limited_log.asyncio, "get_running_loop", lambda: LoopWithClock(None, made))
    return made


def test_a_flood_of_refused_connections_causes_one_log_line_for_each_reply(clock):
    emitted = []
    refused = RefusedConnections(emitted.append)
    for number in range(1000):
        refused.report("503 full" if number % 4 else "503 too many", f"192.0.2.{number % 9}")
    assert emitted == []
    clock.advance(LOG_EVERY)
    assert emitted == [
        ConnectionsRefused(reply="503 too many", count=250, peer="192.0.2.0"),
        ConnectionsRefused(reply="503 full", count=750, peer="192.0.2.0"),
    ]


def test_connections_that_are_refused_later_are_logged_later(clock):
    emitted = []
    refused = RefusedConnections(emitted.append)
    refused.report("503 full", "192.0.2.1")
    clock.advance(LOG_EVERY)
    clock.advance(LOG_EVERY)
    refused.report("503 full", "192.0.2.2")
    clock.advance(LOG_EVERY - 1)
    assert [event.peer for event in emitted] == ["192.0.2.1"]
    clock.advance(1)
    assert [event.peer for event in emitted] == ["192.0.2.1", "192.0.2.2"]


def test_connections_that_are_not_logged_yet_are_logged_when_the_server_stops(clock):
    emitted = []
    refused = RefusedConnections(emitted.append)
    refused.report("503 full", "192.0.2.1")
    refused.log_rest()
    clock.advance(LOG_EVERY)
    assert [event.count for event in emitted] == [1]


def test_a_flood_of_failed_handshakes_causes_few_log_lines(clock):
    emitted = []
    failures = TlsFailures(emitted.append, "http")
    for number in range(1000):
        failures.report("192.0.2.1", f"reason {number}")
    clock.advance(LOG_EVERY)
    failures.report("192.0.2.2", "another reason")
    failures.log_rest()  # there is nothing more
    assert [event.count for event in emitted] == [1] * LOGGED_EACH + [1000 - LOGGED_EACH, 1]
    assert [event.reason for event in emitted[-2:]] == ["reason 999", "another reason"]
    assert {event.protocol for event in emitted} == {"http"}


@pytest.mark.usefixtures("clock")
def test_failures_that_are_not_logged_yet_are_logged_when_the_server_stops():
    emitted = []
    failures = TlsFailures(emitted.append, "smtp")
    for _ in range(LOGGED_EACH + 2):
        failures.report("192.0.2.1", "why")
    failures.log_rest()
    assert sum(event.count for event in emitted) == LOGGED_EACH + 2
