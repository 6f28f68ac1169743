"""Format points in time as text."""

from datetime import datetime


def iso8601(moment: datetime) -> str:
    """Format a time in UTC with milliseconds, as in `2026-11-22T23:14:05.678Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
