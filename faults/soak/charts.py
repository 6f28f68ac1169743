"""Draws what was measured over time as an SVG image, with a small chart for each quantity."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 110, 70, 70, 30, 10
"""Lengths in pixels: of a chart, and of its margins."""

_STYLE = """\
<style>
  .back { fill: #ffffff } .text { fill: #1f2328 } .quiet { fill: #59636e } .grid { stroke: #d1d9e0 }
  .line { stroke: #2a78d6; fill: none; stroke-width: 1.5 } .fault { stroke: #eb6834; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } .text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d }
    .line { stroke: #58a6ff }
  }
  text { font: 12px system-ui, sans-serif } .title { font-weight: 600 }
</style>"""


def drawn(series: Mapping[str, Sequence[tuple[float, float]]], faults: Sequence[tuple[float, str]]) -> str:
    """Return the image. `series` has the points (seconds, value) of each quantity; its name includes the unit.

    `faults` are the times, in seconds, and names of the faults. Each chart begins at zero.
    """
    end = max((at for points in series.values() for at, _ in points), default=1.0) or 1.0
    parts = []
    for number, (name, points) in enumerate(series.items()):
        parts += _chart(name, points, [at for at, _ in faults], end, number * HEIGHT)
    height = len(series) * HEIGHT + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    return "\n".join([head, _STYLE, f'<rect class="back" width="{WIDTH}" height="{height}"/>', *parts, "</svg>", ""])


def _chart(name, points, faults, end, top):
    most = max((value for _, value in points), default=1.0) or 1.0
    right, above, below = WIDTH - RIGHT, top + TOP, top + HEIGHT - BOTTOM

    def x_of(at):
        return LEFT + at / end * (right - LEFT)

    placed = " ".join(f"{x_of(at):.1f},{below - value / most * (below - above):.1f}" for at, value in points)
    last = points[-1][1] if points else 0.0
    return [
        f'<text class="text title" x="{LEFT}" y="{above - 8}">{escape(name)}</text>',
        *(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>' for y in (above, below)),
        f'<text class="quiet" x="{LEFT - 6}" y="{above + 4}" text-anchor="end">{most:,.4g}</text>',
        f'<text class="quiet" x="{LEFT - 6}" y="{below + 4}" text-anchor="end">0</text>',
        *(f'<line class="fault" x1="{x_of(at):.1f}" x2="{x_of(at):.1f}" y1="{above}" y2="{below}"/>' for at in faults),
        f'<polyline class="line" points="{placed}"/>',
        f'<text class="quiet" x="{right + 6}" y="{below - last / most * (below - above) + 4:.1f}">{last:,.4g}</text>',
    ]
