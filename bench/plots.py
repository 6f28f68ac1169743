"""Draws the plots of docs/benchmarks.md from the figures of a run."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import svg
from report import Run

_KEEPS = ("Waypost", "Postfix", "Exim", "OpenSMTPD", "smtp-sink")
"""The beginnings of the names of servers in the plots by size and by sessions."""


def drawn(run: Run) -> dict[str, str]:
    """Return the SVG text of each plot by file name. A plot without figures is empty, but exists."""
    cases = {case["id"]: case for case in run["cases"]}
    plots = {}
    for case, title in _RATES.items():
        plots[f"{case}.svg"] = svg.bars(title, _bars(cases, case, "delivered", highest_first=True))
    kept = "4 KB, 20 sessions, connections kept"
    plots["processor.svg"] = svg.bars(f"Processor time for a message: {kept}", _bars(cases, "kept", "cpu"), " µs")
    plots["latency.svg"] = svg.bars(f"Response time, p50 to p99: {kept}", _latencies(cases), " ms (p99)")
    plots["memory.svg"] = svg.bars("Memory of all processes, idle to under load", _memory(run), " MB")
    plots["sizes.svg"] = svg.lines(
        "Messages per second by size", ("4 KB", "64 KB", "1 MB"), _series(cases, ("kept", "64k", "1m"))
    )
    plots["sessions.svg"] = svg.lines(
        "Messages per second by sessions", ("1", "20", "200"), _series(cases, ("one", "kept", "many"))
    )
    plots["api.svg"] = svg.bars("Calls per second: 32 connections", _calls(run))
    return plots


_RATES = {
    "kept": "Messages per second: 4 KB, 20 sessions, connections kept",
    "each": "Messages per second: 4 KB, 20 sessions, a connection each",
    "relay": "Messages per second: both copies relayed with SMTP",
    "lmtp": "Messages per second: both copies delivered with LMTP",
}


def _bars(cases: Mapping[str, Run], case: str, figure: str, *, highest_first: bool = False) -> list[svg.Bar]:
    rows = [_bar(name, measured[figure]) for name, measured in cases.get(case, {}).get("figures", {}).items()]
    return sorted(rows, key=lambda row: row.value, reverse=highest_first)


def _bar(name: str, values: Sequence[float]) -> svg.Bar:
    return svg.Bar(name, statistics.median(values), min(values), max(values), name.startswith("Waypost"))


def _latencies(cases: Mapping[str, Run]) -> list[svg.Bar]:
    rows = [
        svg.Bar(name, found["p99"], found["p50"], found["p99"], name.startswith("Waypost"))
        for name, found in cases.get("kept", {}).get("latency", {}).items()
    ]
    return sorted(rows, key=lambda row: row.value)


def _memory(run: Run) -> list[svg.Bar]:
    rows = []
    for name, found in run["servers"].items():
        loaded = found.get("loaded", found["idle"])
        rows.append(svg.Bar(name, loaded, min(found["idle"], loaded), loaded, name.startswith("Waypost")))
    return sorted(rows, key=lambda row: row.value)


def _series(cases: Mapping[str, Run], ids: Sequence[str]) -> dict[str, list[float | None]]:
    """Return the rates of each durable server, and of smtp-sink, in these cases; of Waypost with one worker."""
    names = [
        name for name in cases.get("kept", {}).get("figures", {}) if name.startswith(_KEEPS) and "workers" not in name
    ]

    def rate(name: str) -> Callable[[str], float | None]:
        def of(case: str) -> float | None:
            found = cases.get(case, {}).get("figures", {}).get(name)
            return statistics.median(found["delivered"]) if found else None

        return of

    return {name: list(map(rate(name), ids)) for name in names}


def _calls(run: Run) -> list[svg.Bar]:
    short = {"describe": "Describe", "associate": "Associate", "describe_instance": "DescribeInstance"}
    return [
        _bar(f"{name}: {short[operation]}" if operation in short else name, measured["per_second"])
        for operation, servers in run["api"].items()
        for name, measured in servers.items()
    ]
