"""How a moment is written."""

from datetime import UTC, datetime

from waypost.domain import moments


def test_a_moment_is_written_to_the_millisecond_in_utc():
    assert moments.iso8601(datetime(2026, 11, 22, 23, 14, 5, 678000, tzinfo=UTC)) == "2026-11-22T23:14:05.678Z"
    assert moments.iso8601(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"
