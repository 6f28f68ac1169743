"""Finds the line of a key in a TOML text, for messages: the standard library's reader does not report it."""

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, at: Sequence[str | int]) -> int | None:
    """The line where a key or a table begins, counted from 1; None if it cannot be told, as in an inline table.

    `at` is the path to it: names, with underscores for hyphens, and places in arrays, counted from 0. It is looked for
    in the lines with its name: a line is that of the key if the text before it is without the key, and with the line,
    and those that its value goes on for, it has the key.
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
    """The parsed lines; None if they end within a value."""
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def _has(found: Any, at: Sequence[str | int]) -> bool:
    """Whether the path exists."""
    if not at:
        return True
    first, *rest = at
    if isinstance(first, int):
        return isinstance(found, list) and first < len(found) and _has(found[first], rest)
    if not isinstance(found, dict):
        return False
    return any(_has(value, rest) for key, value in found.items() if key.replace("-", "_") == first)
