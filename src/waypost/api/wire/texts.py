"""Parses and formats single values in a path, a query or a header.

A string that cannot be parsed as its shape requires is returned unchanged, and then fails validation.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import msgspec

ISO_8601, RFC_822, SECONDS = "iso8601", "rfc822", "unixTimestamp"
"""The formats of a timestamp on the wire. Internally, a timestamp is a number of seconds since 1970."""

NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The floats that JSON cannot express as numbers, keyed by the names that represent them on the wire."""

_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)


def read(shape: Mapping[str, Any], text: str, timestamp: str) -> Any:
    """Parse a value from the text in a path, a query or a header. `timestamp` is the default format of timestamps,
    which the shape can override.
    """
    match shape["type"]:
        case "boolean":
            return _BOOLEANS.get(text, text)
        case "integer" | "long":
            return int(text) if _INTEGER.fullmatch(text) else text
        case "float" | "double":
            return float(text) if _NUMBER.fullmatch(text) else NO_NUMBERS.get(text, text)
        case "timestamp":
            return read_timestamp(text, shape.get("timestampFormat", timestamp))
    return text


def write(shape: Mapping[str, Any], value: Any, timestamp: str) -> str:
    """Format a value as text for a path, a query or a header. `timestamp` is the default format of timestamps, which
    the shape can override.
    """
    match shape["type"]:
        case "boolean":
            return "true" if value else "false"
        case "float" | "double":
            return str(write_float(value))
        case "timestamp":
            return str(write_timestamp(value, shape.get("timestampFormat", timestamp)))
    return str(value)


def read_timestamp(text: str, form: str) -> float | str:
    """Convert a timestamp to seconds since 1970. A string that is not a timestamp is returned unchanged."""
    if form == SECONDS:
        return float(text) if _NUMBER.fullmatch(text) else text
    try:
        moment = datetime.fromisoformat(text) if form == ISO_8601 else parsedate_to_datetime(text)
    except ValueError:
        return text
    # Without a UTC offset, the time is ambiguous.
    return moment.timestamp() if moment.tzinfo else text


def write_timestamp(seconds: float, form: str) -> float | str:
    """Convert a timestamp to its JSON value: a string or a number of seconds since 1970, depending on the format."""
    if form == SECONDS:
        return int(seconds) if seconds == int(seconds) else seconds
    if form == RFC_822:
        return formatdate(seconds, usegmt=True)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds") + "Z"


def iso_8601(moment: datetime) -> str:
    """Format a time in UTC with milliseconds, as in `2026-11-22T23:14:05.678Z`.

    The result is the same as that of `domain.moments.iso8601`, but `msgspec` is twenty times as fast.
    """
    text = msgspec.json.encode(moment).decode()  # in quotes, with six digits after the point or without a fraction
    return f"{text[1:24]}Z" if moment.microsecond else f"{text[1:20]}.000Z"


def write_float(value: float) -> float | str:
    """Convert a float to its JSON value: a number, or a name such as NaN."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
