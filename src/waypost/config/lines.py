"""Finds the line of a key in a TOML file, for use in error messages. Python's TOML parser does not report the lines of
keys.
"""

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, at: Sequence[str | int]) -> int | None:
    """Return the number of the line on which a key or a table begins, or None if the line cannot be determined. Lines
    are counted from 1.

    `at` is the path to the key: a sequence of names and array indexes. Names have underscores instead of hyphens, and
    indexes are counted from 0. For each line that contains the key's name, the function parses the file from its
    beginning to the end of that line. The key is on the first line for which the parsed part of the file contains it.
    The line of a key in an inline table cannot be determined.
    """
    name = next(each for each in reversed(at) if isinstance(each, str))
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines):
        if name not in line.replace("-", "_"):
            continue
        before = _parsed(lines[:number])
        if before is None or _has(before, at):
            continue
        for end in range(number + 1, len(lines) + 1):
            found = _parsed(lines[:end])
            if found is not None:
                if _has(found, at):
                    return number + 1
                break
    return None


def _parsed(lines: Sequence[str]) -> dict[str, Any] | None:
    """Parse the lines as TOML, or return None if they end in the middle of a value."""
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def _has(found: Any, at: Sequence[str | int]) -> bool:
    """Whether the path `at` exists in a parsed value."""
    if not at:
        return True
    first, *rest = at
    if isinstance(first, int):
        return isinstance(found, list) and first < len(found) and _has(found[first], rest)
    if not isinstance(found, dict):
        return False
    return any(_has(value, rest) for key, value in found.items() if key.replace("-", "_") == first)
