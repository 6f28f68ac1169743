"""Draws bar charts and line charts as SVG text. Colors follow the reader's light or dark setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 210, 130, 26, 44
"""Lengths in pixels: of a chart, of the margins for short names and for values, of a row, and above the first row."""

COLORS = ("#2a78d6", "#eb6834", "#1baf7a", "#b58900", "#c65b8e", "#7a6fd0", "#6b7280")
_DASHES = ("", "7 3", "2 3", "10 3 2 3", "5 5", "1 4", "12 4")

_STYLE = """\
<style>
  .back { fill: #ffffff } .text { fill: #1f2328 } .quiet { fill: #59636e } .grid { stroke: #d1d9e0 }
  .ours { fill: #2a78d6 } .theirs { fill: #9aa4af } .mark { stroke: #1f2328 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } .text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d }
    .ours { fill: #58a6ff } .theirs { fill: #6e7681 } .mark { stroke: #e6edf3 }
  }
  text { font: 13px system-ui, sans-serif } .title { font-weight: 600; font-size: 14px }
</style>"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a bar chart: a name, a value, the range of the rounds, and whether it is Waypost."""

    name: str
    value: float
    least: float
    most: float
    is_ours: bool = False


def bars(title: str, rows: Sequence[Bar], unit: str = "") -> str:
    """Return a chart with a horizontal bar for each row, which begins at zero, and a line for the range."""
    left = max([LEFT, *(20 + 7 * len(row.name) for row in rows)])
    scale = (WIDTH - left - RIGHT) / max([*(row.most for row in rows), 1e-9])
    parts = []
    for number, row in enumerate(rows):
        y = TOP + number * ROW
        width, start, end = row.value * scale, left + row.least * scale, left + row.most * scale
        parts += [
            _text("text", left - 8, y + 14, row.name, "end"),
            _rect("ours" if row.is_ours else "theirs", left, y, max(1, width), ROW - 8),
            _line("mark", start, end, y + ROW / 2 - 4, y + ROW / 2 - 4),
            _text("quiet", end + 8, y + 14, number_of(row.value) + unit),
        ]
    return _svg(title, parts, TOP + len(rows) * ROW + 8)


def lines(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Return a chart with a line for each series, on a logarithmic scale. None is a missing point."""
    height, bottom, left, right = 380, 340, 70, 570
    values = [value for points in series.values() for value in points if value]
    low = math.floor(math.log10(min(values, default=1)))
    high = max(low + 1, math.ceil(math.log10(max(values, default=10))))
    step = (right - left) / max(1, len(labels) - 1)

    def y_of(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - TOP)

    parts = []
    for power in range(low, high + 1):
        y = y_of(10**power)
        parts += [_line("grid", left, right, y, y), _text("quiet", left - 8, y + 4, number_of(10**power), "end")]
    for number, label in enumerate(labels):
        parts.append(_text("quiet", left + number * step, height - 12, label, "middle"))
    ends = []
    for number, (name, points) in enumerate(series.items()):
        color, dash = COLORS[number % len(COLORS)], _DASHES[number % len(_DASHES)]
        placed = [(left + at * step, y_of(value)) for at, value in enumerate(points) if value]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        look = f'fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{drawn}" {look}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in placed]
        ends += [(placed[-1][1], name, color)] if placed else []
    ends.sort()
    for y, (_, name, color) in zip(spread([end[0] for end in ends], 16), ends, strict=True):
        parts.append(f'<rect x="{right + 10}" y="{y - 5:.1f}" width="10" height="10" rx="2" fill="{color}"/>')
        parts.append(_text("text", right + 26, y + 4, name))
    return _svg(title, parts, height)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return the places, which are in ascending order, moved down so that none is nearer than `gap` to another."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    return moved


def number_of(value: float) -> str:
    """Return a number with about three digits, and a comma for thousands."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def _svg(title: str, parts: Sequence[str], height: float) -> str:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    shown = [_rect("back", 0, 0, WIDTH, height), _text("text title", 16, 26, title), *parts]
    return "\n".join([head, _STYLE, *shown, "</svg>\n"])
