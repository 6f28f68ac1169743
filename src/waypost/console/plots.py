"""Draws plots as SVG: pure functions from values to markup.

The elements have classes of `console.css` and presentation attributes, because the policy of the pages forbids styles
in them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 720, 180
"""The size of a stacked plot, in units of its view box."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 4, 8, 22
"""The margins of a stacked plot. The labels of the axes are in the left and the bottom margin."""

SPARK_WIDTH, SPARK_HEIGHT = 120, 24
"""The size of a sparkline, in pixels."""


@dataclass(frozen=True, slots=True)
class Series:
    """One layer of a stacked plot."""

    name: str
    """The noun after a number, as in "3 delivered"."""
    look: str
    """The class that gives the layer its colour, such as `fill-green`."""
    values: Sequence[int]
    """The values, oldest first. None of them is negative."""


def stacked(title: str, labels: Sequence[str], series: Sequence[Series], *, label_every: int) -> Markup:
    """Return a plot with one bar for each label, in which the values of the series are stacked, the first one lowest.

    Every `label_every`th label is written below the plot, so that the last one is written. Each bar says its values
    when the pointer is on it. Without any value, the plot has a scale up to 1.
    """
    totals = [sum(each.values[place] for each in series) for place in range(len(labels))]
    top = nice_limit(max(totals, default=0))
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    unit = (HEIGHT - _TOP - _BOTTOM) / top
    parts = [_grid(value, HEIGHT - _BOTTOM - value * unit) for value in sorted({0, top // 2, top})]
    heights = [0] * len(labels)
    for each in series:
        bars = []
        for place, value in enumerate(each.values):
            if value:
                heights[place] += value
                x, y = _LEFT + place * step, HEIGHT - _BOTTOM - heights[place] * unit
                bars.append(f"M{x:.1f} {y:.1f}h{step - 1:.1f}v{value * unit:.1f}h{1 - step:.1f}z")
        if bars:
            parts.append(Markup('<path class="{}" d="{}"/>').format(each.look, "".join(bars)))
    for place, label in enumerate(labels):
        x = _LEFT + place * step
        if (len(labels) - 1 - place) % label_every == 0:
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="end">{}</text>').format(x + step, HEIGHT - 6, label)
            )
        if totals[place]:
            values = ", ".join(f"{each.values[place]} {each.name}" for each in series if each.values[place])
            area = (x, _TOP, step, HEIGHT - _TOP - _BOTTOM)
            parts.append(
                Markup(
                    '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="none" pointer-events="all">'
                    "<title>{}: {}</title></rect>"
                ).format(*area, label, values)
            )
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title)
    return head + Markup("").join(parts) + Markup("</svg>")


def sparkline(title: str, values: Sequence[int]) -> Markup:
    """Return a small line that shows how values change, oldest first. A line of zeros is at the bottom."""
    top = max([*values, 1])
    step = SPARK_WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{place * step:.1f},{SPARK_HEIGHT - 2 - value * (SPARK_HEIGHT - 4) / top:.1f}"
        for place, value in enumerate(values)
    )
    return Markup(
        '<svg class="spark" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">'
        '<polyline class="stroke-accent" points="{3}"/></svg>'
    ).format(SPARK_WIDTH, SPARK_HEIGHT, title, points)


def nice_limit(value: int) -> int:
    """Return the smallest of 1, 2, 4, 10, 20, 40, 100, … that is at least `value`."""
    power = 10 ** int(math.log10(value)) if value > 1 else 1
    return next(power * factor for factor in (1, 2, 4, 10) if power * factor >= value)


def _grid(value: int, y: float) -> Markup:
    """Return a line across the plot, with its value in the left margin."""
    return Markup(
        '<line class="axis" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<text x="{at}" y="{below:.1f}" text-anchor="end">{value:,}</text>'
    ).format(left=_LEFT, right=WIDTH - _RIGHT, y=y, at=_LEFT - 6, below=y + 4, value=value)
