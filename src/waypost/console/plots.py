"""Draws plots as SVG: pure functions from values to markup.

The elements have classes of `console.css` and presentation attributes, because the policy of the pages forbids styles
in them.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from markupsafe import Markup
from msgspec import Struct

from waypost.domain import moments

HEIGHT = 180
"""The height of a stacked plot, in pixels. The plot is as wide as its place on the page, so its text has one size."""

TOP, BOTTOM = 16, 22
"""The margins above and below the bars, in pixels. The labels of the bars are in the lower margin."""

_NOTHING = Markup("")

SPARK_WIDTH, SPARK_HEIGHT = 120, 24
"""The size of a sparkline, in pixels."""


class Series(Struct, frozen=True):
    """One layer of a stacked plot."""

    name: str
    """The noun after a number, as in "3 delivered"."""
    look: str
    """The class that gives the layer its colour, such as `fill-green`."""
    values: Sequence[int]
    """The values, oldest first. None of them is negative."""


def stacked(title: str, times: Sequence[datetime], series: Sequence[Series], *, label_every: int) -> Markup:
    """Return a plot with one bar for each time, in which the values of the series are stacked, the first one lowest.

    Below the plot is every `label_every`th time in UTC, among them the last one; the script shows them in the person's
    time zone. Each bar says its values when the pointer is on it. Without any value, the plot has a scale up to 1.
    """
    totals = [sum(each.values[place] for each in series) for place in range(len(times))]
    top = nice_limit(max(totals, default=0))
    pixel = (HEIGHT - TOP - BOTTOM) / top
    grid = [_grid(value, HEIGHT - BOTTOM - value * pixel) for value in sorted({0, top // 2, top})]
    parts = [*grid, *_layers(series, len(times), pixel), *_names(times, label_every), _areas(times, series, totals)]
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


def _names(times: Sequence[datetime], label_every: int) -> Iterator[Markup]:
    """Yield the times below the plot."""
    for place, at in enumerate(times, 1):
        if (len(times) - place) % label_every == 0:
            end = place * 100 / len(times)
            yield Markup('<text x="{:.1f}%" y="{}" text-anchor="end" data-at="{}">{:%H:%M}</text>').format(
                end, HEIGHT - 6, moments.iso8601(at), at
            )


def _areas(times: Sequence[datetime], series: Sequence[Series], totals: Sequence[int]) -> Markup:
    """Return the invisible areas that say the values of a bar when the pointer is on it."""
    step = 100 / max(1, len(times))
    areas = []
    for place, at in enumerate(times):
        if totals[place]:
            values = ", ".join(f"{each.values[place]} {each.name}" for each in series if each.values[place])
            title = Markup("<title>{:%H:%M} UTC: {}</title>").format(at, values)
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
    """Return a line across the plot, with its value to the left of it."""
    return Markup(
        '<line class="axis" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<text x="-6" y="{middle:.1f}" text-anchor="end">{value}</text>'
    ).format(y=y, middle=y + 4, value=f"{value:,}".replace(",", "\u202f"))
