"""How long a parser takes, in processor time: of the whole input, and of its longest turn."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.work.rows import Parser


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time."""

    whole: float
    turn: float
    """The longest in which nobody else had a turn."""


def once(parser: Parser, value: Any) -> Cost:
    """One reading of an input."""
    began = last = time.process_time()
    longest = 0.0
    steps = parser.read(value)
    if isinstance(steps, Iterator):
        for _ in steps:
            now = time.process_time()
            longest, last = max(longest, now - last), now
    now = time.process_time()
    return Cost(now - began, max(longest, now - last))


def least(parser: Parser, size: int, *, times: int = 3) -> Cost:
    """The least of some readings: what disturbs one only adds to it."""
    value = parser.build(size)
    costs = [once(parser, value) for _ in range(times)]
    return Cost(min(cost.whole for cost in costs), min(cost.turn for cost in costs))
