"""How a duration is written: a whole number and its unit, as in `7d`, `12h`, `30m` or `90s`."""

import re
from datetime import timedelta

UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
"""The longest first."""


def parse(text: str) -> timedelta | None:
    """What a duration means; None if the text is not one. It has up to nine digits, and may be 0."""
    match = re.fullmatch(r"([0-9]{1,9})([dhms])", text, re.ASCII)
    return int(match[1]) * UNITS[match[2]] if match else None


def written(duration: timedelta) -> str:
    """A duration of whole seconds, in the longest unit of which it is a whole number."""
    unit = next((unit for unit, length in UNITS.items() if not duration % length), "s")
    return f"{duration // UNITS[unit]}{unit}"
