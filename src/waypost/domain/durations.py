"""The text form of a duration: a whole number followed by its unit, as in `7d`, `12h`, `30m` and `90s`."""

import re
from datetime import timedelta

UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
"""The units of a duration, longest first."""


def parse(text: str) -> timedelta | None:
    """Parse a duration, or return None if the text is not a duration.

    The number has up to nine digits, and may be 0.
    """
    match = re.fullmatch(r"([0-9]{1,9})([dhms])", text, re.ASCII)
    return int(match[1]) * UNITS[match[2]] if match else None


def written(duration: timedelta) -> str:
    """Format a duration in the longest unit that gives a whole number.

    The duration must be a whole number of seconds.
    """
    unit = next((unit for unit, length in UNITS.items() if not duration % length), "s")
    return f"{duration // UNITS[unit]}{unit}"
