"""Failed TLS handshakes in the log: few lines, and none is left out of the count."""

import asyncio

from tests.kit.servers.connection_clock import Clock, LoopWithClock
from waypost.observe import tls_failures
from waypost.observe.tls_failures import LOG_EVERY, LOGGED_EACH, TlsFailures


def test_a_flood_of_failed_handshakes_causes_few_log_lines(monkeypatch):
    emitted, clock = [], Clock()

    async def scenario():
        loop = LoopWithClock(asyncio.get_running_loop(), clock)
        monkeypatch.setattr(tls_failures.asyncio, "get_running_loop", lambda: loop)
        failures = TlsFailures(emitted.append, "http")
        for number in range(1000):
            failures.report("192.0.2.1", f"reason {number}")
        clock.advance(LOG_EVERY)
        failures.report("192.0.2.2", "another reason")
        failures.log_rest()  # there is nothing more
        monkeypatch.undo()

    asyncio.run(scenario())
    assert [event.count for event in emitted] == [1] * LOGGED_EACH + [1000 - LOGGED_EACH, 1]
    assert [event.reason for event in emitted[-2:]] == ["reason 999", "another reason"]
    assert {event.protocol for event in emitted} == {"http"}


def test_failures_that_are_not_logged_yet_are_logged_when_the_server_stops():
    emitted = []

    async def scenario():
        failures = TlsFailures(emitted.append, "smtp")
        for _ in range(LOGGED_EACH + 2):
            failures.report("192.0.2.1", "why")
        failures.log_rest()

    asyncio.run(scenario())
    assert sum(event.count for event in emitted) == LOGGED_EACH + 2
