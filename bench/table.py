"""Formats measurements and their targets as Markdown tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rounds import Figures


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


BESIDE_POSTFIX = Target(5, " ×", least=3)
DESCRIBE = Target(0.4, "", least=0.3)
ASSOCIATE = Target(0.2, "")
ASSOCIATE_P99 = Target(25, " ms", at_most=True)
IDLE = Target(80, " MB", at_most=True)
START = Target(0.6, " s", at_most=True)


def mail(peers: Mapping[str, Figures], missing: Mapping[str, str]) -> str:
    """Return a table of the messages per second of each server, and Waypost's ratio to it."""
    rows = []
    waypost = peers["Waypost"]
    for name, figures in peers.items():
        times, target, met = "", "", ""
        if name != "Waypost":
            ratio = ratio_of(waypost["delivered"], figures["delivered"])
            times = f"{ratio:.2f} ×"
            if name.startswith("Postfix"):
                target, met = str(BESIDE_POSTFIX), BESIDE_POSTFIX.verdict(ratio)
        rows.append((name, _rate(figures["accepted"]), _rate(figures["delivered"]), times, target, met))
    rows += [(name, why, "", "", str(BESIDE_POSTFIX) if name == "Postfix" else "", "") for name, why in missing.items()]
    return table(("", "accepted/s", "delivered/s", "Waypost does", "target", "met"), rows)


def http(runs: Mapping[str, Figures]) -> str:
    """Return a table of the requests per second, the response times, and the ratio to the echo server."""
    rows = [
        _call("bare ASGI echo", runs["echo"]),
        _call("DescribeEmailAddress, signed", runs["describe"], runs["echo"], DESCRIBE),
        _call("AssociateEmailAddressAlias, signed, durable", runs["associate"], runs["echo"], ASSOCIATE),
    ]
    p99 = statistics.median(runs["associate"]["p99"])
    rows.append(("its p99", "", "", f"{p99:.1f}", "", "", str(ASSOCIATE_P99), ASSOCIATE_P99.verdict(p99)))
    return table(("", "requests/s", "p50 ms", "p99 ms", "CPU µs each", "of the echo", "target", "met"), rows)


def process(figures: Mapping[str, float]) -> str:
    """Return a table of the memory and the start time."""
    rows = [
        ("idle memory after the start", f"{figures['rss_idle']:.0f} MB", str(IDLE), IDLE.verdict(figures["rss_idle"])),
        ("memory after all rounds", f"{figures['rss_after']:.0f} MB", "", ""),
        ("start to first replies", f"{figures['start']:.2f} s", str(START), START.verdict(figures["start"])),
    ]
    return table(("", "measured", "target", "met"), rows)


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios, because a disturbance usually affects both servers in a round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _call(name: str, figures: Figures, echo: Figures | None = None, target: Target | None = None) -> tuple[str, ...]:
    p50, p99, cpu = (statistics.median(figures[figure]) for figure in ("p50", "p99", "cpu"))
    measured = (name, _rate(figures["per_second"]), f"{p50:.1f}", f"{p99:.1f}", f"{cpu:.0f}")
    if echo is None or target is None:
        return (*measured, "", "", "")
    ratio = ratio_of(figures["per_second"], echo["per_second"])
    return (*measured, f"{ratio:.2f}", str(target), target.verdict(ratio))


def _rate(rates: Sequence[float]) -> str:
    """Return the median, followed by the slowest and the fastest round in brackets."""
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with a header and rows."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * max(width, 3) for width in widths], *rows]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(max(width, 3)) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
