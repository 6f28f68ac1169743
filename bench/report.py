"""Makes tables from the figures of a run: of servers, cases, calls and targets."""

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from api_rounds import ECHO, MOTO
from figures import ratio_of
from peers.peer import INBOX
from table import Target, table

BASELINE = "Waypost, SQLite"
"""The server to which others are compared: one process."""

Run = Mapping[str, Any]
"""The figures of a run, as bench/run.py writes them."""


def conditions(run: Run) -> str:
    """Return a paragraph on the conditions of the run."""
    told = run["conditions"]
    cores = f"{told['cores']} cores"
    where = (
        "the load generators run on the same cores as the servers"
        if told["cores_shared"]
        else f"the load generators have {told['generator_cores']} of them, which no server uses"
    )
    text = (
        f"Processor: {told['processor']}, {cores}; {where}. {told['system']}, Python {told['python']}, data on "
        f"{told['file_system']}. Mail comes from {told['generator']}. {told['rounds']} rounds, in each of which a "
        f"server gets mail for about {told['run_seconds']:g} s in each case, {told['date']}, "
        f"{told['minutes']:.0f} minutes."
    )
    if told.get("processor_time") == "/proc":
        text += " Processor time is from `/proc`, so the time of Exim's ended delivery processes is missing."
    if told.get("load", 0) > 0.5:
        text += (
            f" **Other programs ran at the same time (load average {told['load']:.1f} at the start), so these figures "
            "are low and uneven.**"
        )
    return text


def servers(run: Run) -> str:
    """Return a table of what each server keeps and syncs, and of its memory."""
    rows = []
    for name, told in run["servers"].items():
        durability = told["durability"]
        if isinstance(durability, str):
            before, after = durability, ""
        else:
            before, after = (_synced(durability[when]) for when in ("before", "after"))
        loaded = f"{told['loaded']:.0f} MB" if "loaded" in told else ""
        rows.append((name, told["keeps"], before, after, f"{told['idle']:.0f} MB", loaded))
    rows += [(name, f"not measured: {why}", "", "", "", "") for name, why in run["missing"].items()]
    head = ("", "an accepted message is", "synced before `250`", "synced after `250`", "idle memory", "under load")
    return table(head, rows)


def _synced(calls: Sequence[str]) -> str:
    """Return the calls that sync first. A name alone (rename, link) is not durable without a sync."""
    syncs = [f"`{call}`" for call in calls if "sync" in call]
    names = [f"`{call}`" for call in calls if "sync" not in call]
    if not calls:
        return "nothing"
    return ", ".join([*syncs, *names]) if syncs else f"nothing ({', '.join(names)})"


def synced_before(server: Mapping[str, Any] | None, path: str) -> str:
    """Return the number of syncs before the reply to a message that takes `path`; `nothing` if there are none."""
    if server is None or isinstance(server["durability"], str):
        return "not known"
    if server["path"] != INBOX and path == INBOX:  # it discards mail for inboxes
        return "nothing"
    counts: dict[str, int] = {}
    for call in server["durability"]["before"]:
        count, name = re.findall(r"^(?:([0-9]+) × )?(\S+)", call)[0]
        if "sync" in name:
            counts[name] = counts.get(name, 0) + int(count or 1)
    return ", ".join(f"{count} `{name}`" for name, count in counts.items()) or "nothing"


def mail(case: Mapping[str, Any], run: Run) -> str:
    """Return a table of a case: rates, response times and processor time for each message."""
    names = list(run["servers"])
    figures = case["figures"]
    ours = figures.get(BASELINE)
    rows = []
    for name, measured in sorted(figures.items(), key=lambda one: names.index(one[0]) if one[0] in names else 0):
        is_other = ours and name != BASELINE
        times = f"{ratio_of(ours['delivered'], measured['delivered']):.2f} ×" if is_other else ""
        latency = case["latency"][name]
        rows.append(
            (
                f"**{name}**" if name.startswith("Waypost") else name,
                synced_before(run["servers"].get(name), case["path"]),
                rate(measured["delivered"]),
                milliseconds(latency["p50"]),
                milliseconds(latency["p99"]),
                f"{statistics.median(measured['cpu']):,.0f} µs",
                f"{statistics.median(measured['generator_cpu']):,.0f} µs",
                times,
            )
        )
    rows += [(name, f"failed: {why}", *[""] * 6) for name, why in case["failed"].items() if name not in figures]
    if not rows:
        return f"Not measured: {'; '.join(f'{name}: {why}' for name, why in run['missing'].items())}"
    head = (
        "",
        "syncs before `250`",
        "messages/s",
        "p50",
        "p99",
        "processor time",
        "of the generator",
        "Waypost, SQLite ÷ this",
    )
    return table(head, rows)


_OPERATIONS = {
    "echo": "",
    "describe": "DescribeEmailAddress",
    "associate": "AssociateEmailAddressAlias, durable",
    "describe_instance": "DescribeInstance",
}


def api(run: Run) -> str:
    """Return a table of API calls: rates, response times, processor time, and the ratio to the echo server."""
    figures = run["api"]
    if "echo" not in figures:
        return "Not measured."
    echo = figures["echo"][ECHO]["per_second"]
    rows = []
    for operation, label in _OPERATIONS.items():
        for name, measured in figures.get(operation, {}).items():
            ratio = "" if name == ECHO else f"{ratio_of(measured['per_second'], echo):.3f}"
            p50, p99, cpu = (statistics.median(measured[figure]) for figure in ("p50", "p99", "cpu"))
            shown = f"**{name}**" if name.startswith("Waypost") else name
            times = (milliseconds(p50), milliseconds(p99), f"{cpu:,.0f} µs")
            rows.append((f"{shown}: {label}".removesuffix(": "), rate(measured["per_second"]), *times, ratio))
    rows += [(name, f"failed: {why}", "", "", "", "") for name, why in run.get("api_failed", {}).items()]
    if MOTO in run["missing"]:
        rows.append((MOTO, f"not measured: {run['missing'][MOTO]}", "", "", "", ""))
    return table(("", "calls/s", "p50", "p99", "processor time", "of the echo's rate"), rows)


def targets(run: Run) -> str:
    """Return a table of the targets, with those figures that this run has."""
    rows = [(what, "not measured" if figure is None else f"{figure:.2f}{target.unit}", str(target),
             "" if figure is None else target.verdict(figure)) for what, target, figure in _targets(run)]  # fmt: skip
    return table(("", "measured", "target", "met"), rows)


def _targets(run: Run) -> list[tuple[str, Target, float | None]]:
    postfix = next((name for name in run["servers"] if name.startswith("Postfix")), "Postfix")
    two, shared = f"{BASELINE}, 2 workers", "Waypost, PostgreSQL"

    def mail_ratio(case: str, ours: str, theirs: str) -> float | None:
        figures = next((one["figures"] for one in run["cases"] if one["id"] == case), {})
        if ours not in figures or theirs not in figures:
            return None
        return ratio_of(figures[ours]["delivered"], figures[theirs]["delivered"])

    def call_ratio(operation: str, other: str, theirs: str) -> float | None:
        try:
            calls = run["api"][operation][BASELINE]["per_second"]
            return ratio_of(calls, run["api"][other][theirs]["per_second"])
        except KeyError:
            return None

    def idle(name: str) -> float | None:
        return run["servers"].get(name, {}).get("idle")

    moto = call_ratio("describe", "describe_instance", MOTO)
    associate = run["api"].get("associate", {}).get(BASELINE)
    return [
        ("two inboxes, connections kept, 2 workers ÷ Postfix", Target(5, " ×"), mail_ratio("kept", two, postfix)),
        ("the same with 1 worker", Target(5, " ×", least=3), mail_ratio("kept", BASELINE, postfix)),
        ("a connection for each message, 2 workers ÷ Postfix", Target(4, " ×"), mail_ratio("each", two, postfix)),
        ("the same with 1 worker", Target(4, " ×", least=3), mail_ratio("each", BASELINE, postfix)),
        ("both copies relayed, 2 workers ÷ Postfix", Target(3, " ×"), mail_ratio("relay", two, postfix)),
        ("the same with 1 worker", Target(3, " ×"), mail_ratio("relay", BASELINE, postfix)),
        ("2 workers ÷ 1 worker", Target(1.7, " ×"), mail_ratio("kept", two, BASELINE)),
        ("PostgreSQL ÷ SQLite", Target(0.5, " ×"), mail_ratio("kept", shared, BASELINE)),
        ("PostgreSQL ÷ Postfix", Target(1.5, " ×"), mail_ratio("kept", shared, postfix)),
        ("DescribeEmailAddress ÷ echo", Target(0.4, "", least=0.35), call_ratio("describe", "echo", ECHO)),
        ("AssociateEmailAddressAlias ÷ echo", Target(0.2, ""), call_ratio("associate", "echo", ECHO)),
        ("its p99", Target(25, " ms", at_most=True), statistics.median(associate["p99"]) if associate else None),
        ("DescribeEmailAddress ÷ moto's DescribeInstance", Target(20, " ×"), moto),
        ("idle memory, 1 worker", Target(80, " MB", at_most=True), idle(BASELINE)),
        ("idle memory, 2 workers", Target(150, " MB", at_most=True), idle(two)),
        ("start to first replies", Target(0.6, " s", at_most=True), run["process"]["start"]),
    ]  # fmt: skip


_CAPACITY = {
    "kept": "messages a second, connections kept",
    "each": "messages a second, a connection for each message",
    "64k": "messages a second of 64 KB, connections kept",
    "relay": "messages a second, both copies relayed by SMTP",
}
"""The cases that the page for operators shows, with its words."""


def capacity(run: Run) -> str:
    """Return the table for operators: what one worker process can do on each store."""
    names = (BASELINE, "Waypost, PostgreSQL")
    cases = {case["id"]: case["figures"] for case in run["cases"]}

    def row(words: str, case: str, figure: str, unit: str = "") -> tuple[str, ...]:
        found = (cases.get(case, {}).get(name) for name in names)
        return (words, *(f"{statistics.median(one[figure]):,.0f}{unit}" if one else "not measured" for one in found))

    rows = [row(words, case, "delivered") for case, words in _CAPACITY.items()]
    rows.append(row("processor time for a message, connections kept", "kept", "cpu", " µs"))
    for words, figure in (("memory when idle", "idle"), ("memory under load, connections kept", "loaded")):
        of_servers = (run["servers"].get(name, {}).get(figure) for name in names)
        rows.append((words, *("not measured" if one is None else f"{one:.0f} MB" for one in of_servers)))
    return table(("one worker process", "SQLite", "PostgreSQL, with its own processes"), rows)


def rate(rates: Sequence[float]) -> str:
    """Return the median, followed by the slowest and the fastest round in brackets."""
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds, with about two digits."""
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def everything(run: Run) -> str:
    """Return all tables, for the terminal."""
    parts = [conditions(run), "## Servers", servers(run)]
    for case in run["cases"]:
        parts += [f"## {case['title']}", mail(case, run)]
    parts += ["## The API, 32 connections", api(run), "## Targets", targets(run)]
    return "\n\n".join(parts)
