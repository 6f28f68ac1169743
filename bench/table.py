"""Formats values and targets as Markdown tables."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """The target for a figure: at least (or at most) `wanted`. `least`, if set, is the minimum acceptable value."""

    wanted: float
    unit: str
    at_most: bool = False
    least: float | None = None

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        least = f" (at least {self.least:g})" if self.least else ""
        return f"{sign} {self.wanted:g}{self.unit}{least}"

    def verdict(self, figure: float) -> str:
        if figure <= self.wanted if self.at_most else figure >= self.wanted:
            return "yes"
        return "nearly" if self.least and figure >= self.least else "no"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with a header and rows."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * max(width, 3) for width in widths], *rows]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(max(width, 3)) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
