"""Measures the processor time of a parser, for a whole input and for its longest turn."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.work.rows import Parser


@dataclass(frozen=True)
class Cost:
    """The processor time of a parser, in seconds."""

    whole: float
    turn: float
    """The longest time during which no other task could run."""


def once(parser: Parser, value: Any) -> Cost:
    """Parse an input once, and return the cost."""
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
    """Return the least cost of several runs, because disturbances only increase the cost."""
    value = parser.build(size)
    costs = [once(parser, value) for _ in range(times)]
    return Cost(min(cost.whole for cost in costs), min(cost.turn for cost in costs))
