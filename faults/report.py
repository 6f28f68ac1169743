"""Writes docs/durability-report.md from what the campaign, the broken builds, the simulation, the soak and the fuzzers
have recorded.

`python -m faults.report faults.jsonl [--broken FILE] [--simulation FILE] [--soak DIRECTORY] [--fuzzing FILE]`
"""

import argparse
import json
import re
import shutil
import statistics
from collections import Counter
from pathlib import Path

TO = Path(__file__).parents[1] / "docs" / "durability-report.md"
CHART = TO.parent / "images" / "soak.svg"

HEAD = """# Report: injected faults

This page has the results of the last run. `make faults LONG=1` injects at least 50 faults of each kind, and writes this
page again. [Durability](durability.md) says what each reply guarantees, and
[decision 68](decisions/0068-faults-against-real-servers.md) how faults are injected and checked.

To inject faults yourself, run `make faults` in a checkout (fifteen minutes), or `.venv/bin/python -m faults.campaign
--kinds "kill the server" --each 3`. [The campaign](../faults/README.md#the-campaign) says how to replay a violation.
A seed chooses all details of a fault. In the simulation, the same seed repeats exactly the same steps. Real servers
get the same fault again, but not at the same microsecond.
"""

CHECKED = """After each fault the server must start by itself. Then everything that clients recorded since the beginning
is compared with everything in the inboxes and at the peers. Each acknowledged message must be there, once, byte for
byte, and after a fault without a wrong clock in the order of its client. No refused message may be there, and a message
without a reply must be there as a whole or not at all. The history of the API calls must be linearizable: one order of
the calls explains all their results. The queue must be empty in the end. A **violation** is anything else.

For "files damaged at rest", a copy of the files is damaged too. A server on this copy must refuse to start and say
why, or serve no message with other bytes than were sent.
"""


def read(path):
    """Return the lines of a file of JSON lines; none if there is no file."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(head, rows):
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines) + "\n"


def report(faults, broken=(), simulations=(), *, soak=None, fuzzers=(), note=""):
    """Return the page. `faults` and `broken` are lines of the campaign and of the broken builds, `simulations` the
    results of runs of the simulation, `soak` the report of a soak, and `fuzzers` the results of the fuzzers. `note`
    says what a reader should know about this run.
    """
    parts = [HEAD, f"{note}\n" if note else "", "## Faults against real servers\n", CHECKED]
    parts += [_totals(faults), _by_kind(faults), _second_copies(faults)]
    if bad := [each for each in faults if each["result"] != "right"]:
        head = ["kind", "store", "workers", "seed", "what was found"]
        rows = [[each["kind"], each["store"], each["workers"], each["seed"], _first(each)] for each in bad]
        parts += ["### Violations\n", table(head, rows)]
    if simulations:
        parts += ["## Simulation in one process\n", _simulation(simulations)]
    if broken:
        parts += ["## Broken builds\n", _broken(broken)]
    if soak:
        parts += ["## Soak\n", _soak(soak)]
    if fuzzers:
        parts += ["## Fuzzing\n", _fuzzing(fuzzers)]
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _totals(faults):
    if not faults:
        return "No fault was injected.\n"
    count, bad = len(faults), sum(each["result"] != "right" for each in faults)
    violations = "1 violation" if bad == 1 else f"{bad} violations"
    accepted, calls = sum(each["accepted"] for each in faults), sum(each["calls"] for each in faults)
    unknown = sum(each["unknown"] for each in faults)
    seconds = sum(each["seconds"] for each in faults)
    days = sorted(each["at"][:10] for each in faults)
    versions = "; ".join(sorted({_versions(each["versions"]) for each in faults}))
    seeds = f"{min(each['seed'] for each in faults)} to {max(each['seed'] for each in faults)}"
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return (
        f"{count:,} faults were injected and checked in {seconds / 60:,.0f} minutes ({when}; seeds {seeds}), "
        f"with {violations}. The servers acknowledged {accepted:,} messages and answered {calls:,} API calls "
        "(a look at an email address counts as two, because its alias and its tags are checked); "
        f"{unknown:,} messages had no reply, or one that leaves their outcome open. On purpose, peers refused mail "
        f"or did not reply {sum(each.get('peers_failed', 0) for each in faults):,} times. Versions: {versions}.\n"
    )


def _versions(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _by_kind(faults):
    columns = [("sqlite", 1), ("sqlite", 2), ("postgresql", 1), ("postgresql", 2)]
    counts = Counter((each["kind"], each["store"], each["workers"]) for each in faults)
    bad = Counter(each["kind"] for each in faults if each["result"] != "right")
    stores = ["SQLite", "SQLite, 2 workers", "PostgreSQL", "PostgreSQL, 2 workers"]
    head = ["faults by kind", *stores, "all", "faults with violations"]
    rows = []
    for kind in sorted({each["kind"] for each in faults}):
        of_kind = [counts[kind, *column] for column in columns]
        rows.append([kind, *(count or "" for count in of_kind), sum(of_kind), bad[kind]])
    totals = [sum(counts[key] for key in counts if key[1:] == column) for column in columns]
    rows.append(["**all**", *totals, sum(totals), sum(bad.values())])
    return table(head, rows)


def _second_copies(faults):
    doubled = Counter()
    for each in faults:
        doubled[each["kind"]] += each["doubled_at_peers"]
    doubled = {kind: count for kind, count in doubled.items() if count}
    if not doubled:
        return "No peer got a message twice.\n"
    text = (
        "Peers got second copies only where the documentation says that they may: of a message whose outcome could not "
        "be recorded because of the fault, to which the peer had not replied, or whose lease had ended:\n\n"
    )
    return text + table(["kind of fault", "second copies"], sorted(doubled.items()))


def _simulation(runs):
    counts = Counter()
    for run in runs:
        counts.update(run["faults"])
    total = sum(counts.values())
    checks = sum(run["checks"] for run in runs)
    text = (
        f"{total:,} faults were injected between the steps of simulated servers. The results were checked {checks:,} "
        "times, after several faults each time ([how](decisions/0067-simulation.md)).\n"
    )
    lines = [text]
    for run in runs:
        bad = ", ".join(str(each["seed"]) for each in run.get("failed", [])) or "none"
        lines.append(
            f"- {run['seeds']:,} seeds from {run['first_seed']} on: {run['steps']:,} steps, "
            f"{run['steps_per_second']:,} a second. Seeds with violations: {bad}."
        )
    rows = [*sorted(counts.items()), ("**all**", total)]
    return "\n".join(lines) + "\n\n" + table(["kind of fault", "faults"], [(name, f"{n:,}") for name, n in rows])


def _broken(builds):
    newest = {each["patch"]: each for each in builds}
    head = ["patch", "what it breaks", "fault, store, workers", "faults at most", "found by fault", "what was found"]
    rows = [
        [
            *(each["patch"], each["what"], f"{each['kind']}, {each['store']}, {each['workers']}", each["most_runs"]),
            *((each["runs"], _shown(each["found"])) if each["is_found"] else ("not found", "")),
        ]
        for each in newest.values()
    ]
    found = sum(each["is_found"] for each in newest.values())
    return (
        f"{found} of {len(newest)} broken builds were found. Each is Waypost with [a patch](../faults/broken/patches) "
        "that breaks one guarantee, so that the kind of fault in the table must find a violation.\n\n"
        + table(head, rows)
    )


def _soak(soak):
    faults = Counter(name for _, name in soak["faults"])
    names = ", ".join(f"{name}: {count}" for name, count in sorted(faults.items()))
    errors = len(soak["unexplained_errors"])
    text = (
        f"One server with {soak['workers']} worker processes ran for {soak['minutes']:g} minutes under mixed load, "
        f"with {faults.total()} faults ({names}). {soak['relayed']:,} messages for the other mail server were "
        f"acknowledged, and {soak['arrived']:,} arrived. While no fault was active, clients got {errors} errors.\n\n"
        "A quantity grows if its median in the last quarter of the run is above the limit, which follows from its "
        "median in the second quarter. The file of the database may grow: it is as large as its data ever was, and the "
        "tokens of calls are remembered for a week.\n"
    )
    head = ["quantity", "unit", "second quarter", "last quarter", "limit", "grows"]
    rows = [
        [
            *(name, one["unit"], *(f"{one[key]:,.1f}" for key in ("before", "after"))),
            *(("none", "") if one["allowed"] is None else (f"{one['allowed']:,.1f}", "yes" if one["grows"] else "no")),
        ]
        for name, one in soak["quantities"].items()
    ]
    image = f"![What was measured during the soak; dashed lines are faults](images/{CHART.name})\n"
    return "\n".join([text, table(head, rows), _durations(soak["kinds"]), image])


def _durations(kinds):
    head = ["work", "calls", "median, ms", "99th percentile, ms: median of 30 windows", "longest of 30, ms"]
    rows = []
    for name, one in kinds.items():
        p99 = [value for _, value in one["p99"]]
        times = (one["median"], statistics.median(p99), max(p99)) if p99 else ()
        rows.append([name, f"{one['calls']:,}", *(f"{1000 * each:.0f}" for each in times)])
    return table(head, rows)


def _fuzzing(fuzzers):
    inputs, seconds = sum(each["inputs"] for each in fuzzers), sum(each["seconds"] for each in fuzzers)
    bad = ", ".join(each["target"] for each in fuzzers if each["failure"]) or "none"
    text = (
        f"{len(fuzzers)} targets tried {inputs:,} inputs in {seconds / 60:,.0f} minutes of processor time "
        f"([how](../fuzz/README.md)). Targets with a bug that is not fixed: {bad}.\n\n"
    )
    head = ["target", "inputs", "minutes", "edges of the code reached", "minutes without new code"]
    rows = [
        [
            *(each["target"], f"{each['inputs']:,}", f"{each['seconds'] / 60:.1f}", f"{each['coverage']:,}"),
            f"{each['seconds_without_new_code'] / 60:.1f}",
        ]
        for each in fuzzers
    ]
    return text + table(head, rows)


REPEATED = ": No order of these calls explains their results:"
"""The first line of a violation of linearizability, which the kind of violation already says."""

PATH = re.compile(r"(?:/[\w.+-]+)+/([\w.+-]+)")


def _shown(text):
    """Return the beginning of what was found, without the directories of the machine on which it was found."""
    return PATH.sub(r"…/\1", text.splitlines()[0].removesuffix(REPEATED))[:160]


def _first(line):
    return _shown(line.get("violations", [""])[0])


def _json(file):
    """Return the value in a file; None if there is no file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def main():
    parser = argparse.ArgumentParser(prog="python -m faults.report", description=__doc__)
    parser.add_argument("faults", type=Path, nargs="+", help="the results of the campaign")
    parser.add_argument("--broken", type=Path, help="the results of the broken builds")
    parser.add_argument("--simulation", type=Path, nargs="*", default=[], help="the results of the simulation")
    parser.add_argument("--soak", type=Path, help="the directory that `make soak` wrote")
    parser.add_argument("--fuzzing", type=Path, help="the results of the fuzzers")
    parser.add_argument("--note", default="", help="a sentence about this run")
    parser.add_argument("--to", type=Path, default=TO, help="the page (default: docs/durability-report.md)")
    given = parser.parse_args()
    faults = [line for path in given.faults for line in read(path)]
    simulations = [found for file in given.simulation if (found := _json(file))]
    soak = _json(given.soak / "soak.json") if given.soak else None
    fuzzers = _json(given.fuzzing) if given.fuzzing else None
    page = report(faults, read(given.broken), simulations, soak=soak, fuzzers=fuzzers or (), note=given.note)
    given.to.write_text(page, encoding="utf-8")
    if soak and given.to == TO:
        shutil.copy(given.soak / "soak.svg", CHART)
    print(given.to)


if __name__ == "__main__":
    main()
