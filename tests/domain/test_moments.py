"""The text form of a time."""

from datetime import UTC, datetime

from waypost.domain import moments


def test_a_time_is_written_in_utc_with_milliseconds():
    assert moments.iso8601(datetime(2026, 11, 22, 23, 14, 5, 678000, tzinfo=UTC)) == "2026-11-22T23:14:05.678Z"
    assert moments.iso8601(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"
