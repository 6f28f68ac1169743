"""Draws plots as SVG: pure functions from values to markup.

The elements have classes of `console.css` and presentation attributes, because the policy of the pages forbids styles
in them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

HEIGHT = 180
"""The height of a stacked plot, in pixels. The plot is as wide as its place on the page, so its text has one size."""

TOP, BOTTOM = 16, 22
"""The margins above and below the bars, in pixels. The labels of the bars are in the lower margin."""

_NOTHING = Markup("")

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

    Below the plot is every `label_every`th label, among them the last one. Each bar says its values when the pointer is
    on it. Without any value, the plot has a scale up to 1.
    """
    totals = [sum(each.values[place] for each in series) for place in range(len(labels))]
    top = nice_limit(max(totals, default=0))
    pixel = (HEIGHT - TOP - BOTTOM) / top
    grid = [_grid(value, HEIGHT - BOTTOM - value * pixel) for value in sorted({0, top // 2, top})]
    parts = [*_layers(series, len(labels), pixel), *grid, *_names(labels, label_every), _areas(labels, series, totals)]
    return Markup('<svg class="plot" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        HEIGHT, title, _NOTHING.join(parts)
    )


def _layers(series: Sequence[Series], count: int, pixel: float) -> Iterator[Markup]:
    """Yield the visible bars of each series. `pixel` is the height of the value 1."""
    step = 100 / max(1, count)
    heights = [0] * count
    for each in series:
        bars = []
        for place, value in enumerate(each.values):
            if value:
                heights[place] += value
                y = HEIGHT - BOTTOM - heights[place] * pixel
                bars.append(_rect(place * step, step * 0.9, y, value * pixel))
        yield Markup('<g class="{}">{}</g>').format(each.look, _NOTHING.join(bars))


def _names(labels: Sequence[str], label_every: int) -> Iterator[Markup]:
    """Yield the labels below the plot."""
    for place, label in enumerate(labels, 1):
        if (len(labels) - place) % label_every == 0:
            end = place * 100 / len(labels)
            yield Markup('<text x="{:.1f}%" y="{}" text-anchor="end">{}</text>').format(end, HEIGHT - 6, label)


def _areas(labels: Sequence[str], series: Sequence[Series], totals: Sequence[int]) -> Markup:
    """Return the invisible areas that say the values of a bar when the pointer is on it."""
    step = 100 / max(1, len(labels))
    areas = []
    for place, label in enumerate(labels):
        if totals[place]:
            values = ", ".join(f"{each.values[place]} {each.name}" for each in series if each.values[place])
            title = Markup("<title>{}: {}</title>").format(label, values)
            areas.append(_rect(place * step, step, TOP, HEIGHT - TOP - BOTTOM, title))
    return Markup('<g fill="none" pointer-events="all">{}</g>').format(_NOTHING.join(areas))


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


def _rect(x: float, width: float, y: float, height: float, inside: Markup = _NOTHING) -> Markup:
    """Return a rectangle. `x` and `width` are percentages, and `y` and `height` are in pixels."""
    return Markup('<rect x="{:.2f}%" width="{:.2f}%" y="{:.1f}" height="{:.1f}">{}</rect>').format(
        x, width, y, height, inside
    )


def _grid(value: int, y: float) -> Markup:
    """Return a line across the plot, with its value above its left end."""
    return Markup(
        '<line class="axis" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{above:.1f}">{value:,}</text>'
    ).format(y=y, above=y - 4, value=value)
