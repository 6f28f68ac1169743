"""Curves of `growth.py`: the fitted order of growth, the table, and the chart.

A curve is the median time of one operation, in milliseconds, for each size of the store. The order is the slope of the
line through the logarithms of the times and the sizes: 0 for a constant time, 1 for a time that is proportional
to the size.
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Curve = Mapping[int, float]

FLAT = 1.3
"""The target: at the largest size, an operation takes at most this many times as long as at the smallest size."""

COLOURS = ("#0b7fab", "#d1495b", "#3d8b37", "#e08e0b", "#7a5195", "#8c6d46", "#5f7c8a", "#c2559d", "#2aa198")

STYLE = """<style>
text { fill: #333 } line { stroke: #999; stroke-width: 0.5 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } line { stroke: #777 } }
</style>"""

FONT = 'font-family="sans-serif" font-size="12"'

WIDTH, PANEL, LEFT, TOP = 960, 300, 64, 40


def order(curve: Curve) -> float:
    """Return the slope of the least-squares line through the logarithms of the sizes and the times."""
    points = [(math.log(size), math.log(time)) for size, time in curve.items()]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def ratio(curve: Curve) -> float:
    """Return the time at the largest size divided by the time at the smallest size."""
    return curve[max(curve)] / curve[min(curve)]


def table(curves: Mapping[str, Curve], slowest: Mapping[str, float]) -> str:
    """Return a Markdown table with a row for each operation.

    `slowest` contains the 99th percentiles at the largest size.
    """
    sizes = sorted(next(iter(curves.values())))
    lines = [
        ["operation", *(f"{size:,}" for size in sizes), "× in all", "order", f"p99 at {sizes[-1]:,}"],
        ["---", *["--:"] * (len(sizes) + 3)],
    ]
    for name, curve in curves.items():
        times = [f"{curve[size]:.{2 if curve[size] >= 0.1 else 3}f}" for size in sizes]
        lines.append([name, *times, f"{ratio(curve):.2f}", f"{order(curve):+.2f}", f"{slowest[name]:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def chart(title: str, panels: Mapping[str, Mapping[str, Curve]]) -> str:
    """Return an SVG with a panel for each store. Both axes are logarithmic."""
    names = list(next(iter(panels.values())))
    times = [time for curves in panels.values() for curve in curves.values() for time in curve.values()]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    height = TOP + PANEL + 50 + 18 * math.ceil(len(names) / 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f"<title>{escape(title)}</title>",
        STYLE,
    ]
    across = WIDTH / len(panels)
    for place, (store, curves) in enumerate(panels.items()):
        parts += _panel(store, curves, place * across + LEFT, across - LEFT - 16, (low, high))
    for place, name in enumerate(names):
        x, y = LEFT + place % 3 * WIDTH / 3.2, TOP + PANEL + 54 + place // 3 * 18
        parts.append(f'<polyline points="{x:.0f},{y - 6:.0f} {x + 16:.0f},{y - 6:.0f}" {_stroke(place)}/>')
        parts.append(f'<text x="{x + 20:.0f}" y="{y - 2:.0f}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(store: str, curves: Mapping[str, Curve], left: float, width: float, powers: tuple[int, int]) -> list[str]:
    sizes = sorted(next(iter(curves.values())))
    low, high = powers

    def x(size: int) -> float:
        return left + width * (math.log10(size / sizes[0]) / math.log10(sizes[-1] / sizes[0]))

    def y(time: float) -> float:
        return TOP + PANEL * (1 - (math.log10(time) - low) / (high - low))

    parts = [f'<text x="{left:.0f}" y="{TOP - 16}" font-weight="bold">{escape(store)}</text>']
    for power in range(low, high + 1):
        level = y(10.0**power)
        parts.append(f'<line x1="{left:.0f}" x2="{left + width:.0f}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{level + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>')
    for size in sizes:
        label = f"10{_superscript(round(math.log10(size)))}"
        parts.append(f'<text x="{x(size):.1f}" y="{TOP + PANEL + 18}" text-anchor="middle">{label}</text>')
    for place, curve in enumerate(curves.values()):
        points = " ".join(f"{x(size):.1f},{y(curve[size]):.1f}" for size in sizes)
        parts.append(f'<polyline points="{points}" {_stroke(place)}/>')
    return parts


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _stroke(place: int) -> str:
    """Return the attributes of the line with this number. After all colours, the lines are dashed."""
    dashes = ' stroke-dasharray="6 4"' if place >= len(COLOURS) else ""
    return f'fill="none" stroke-width="2" stroke="{COLOURS[place % len(COLOURS)]}"{dashes}'


def between(text: str, name: str, new: str) -> str:
    """Return a page in which the text between the two markers `name` is replaced. Raises `ValueError` without them."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"the page has no markers for {name}")
    return f"{before}{begin}\n{new}\n\n{end}{after}"


def not_flat(curves: Mapping[str, Curve]) -> Sequence[str]:
    """Return the names of the operations whose time grows by more than the target."""
    return [name for name, curve in curves.items() if ratio(curve) > FLAT]
