"""Compares Waypost with other servers in one run, and prints tables with medians and targets.

`--keep` also writes the figures to docs/benchmarks/figures.json, and the tables and plots of docs/benchmarks.md.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alone
import api_rounds
import cases
import cores
import groups
import lineup
import mail
import page
import process
import report
import rounds
from peers import api_servers, sinks
from peers.waypost import Waypost

_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured."""

    rounds: int
    seconds: float
    """The length of a run of mail, in seconds; see also `cases.amount`."""
    requests: int
    """The number of calls in a run; Associate has a sixth of them."""
    starts: int
    memory_seconds: float
    """The length of the load under which the memory is measured, in seconds."""
    cases: tuple[str, ...]
    workers: tuple[int, ...]
    """The numbers of worker processes with which Waypost is measured."""


FULL = Amounts(5, 1.5, 6_000, 5, 1.0, tuple(case.id for case in cases.CASES), (1, 2, 4))
QUICK = Amounts(3, 0.5, 3_000, 2, 0.0, cases.QUICK, (1, 2))


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that SIGTERM also stops and removes everything
    cores.generate_here()
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postfix's processes run as another user, who must be able to access their directory
        figures = _measured(directory, options)
    print(report.everything(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.keep:
        page.keep(figures)


def _measured(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run all measurements, and return them as plain values."""
    began, load, amounts = time.monotonic(), os.getloadavg()[0], options.amounts
    _compile_once(directory)
    _say("starts")
    start = process.seconds_to_first_answers(directory, starts=amounts.starts)
    entries = [one for one in lineup.entries(amounts.workers) if options.only in one.name]
    missing = {one.name: one.why_not for one in entries if one.why_not}
    entries = [one for one in entries if one.why_not is None]
    with sinks.next_hops() as hops:
        servers = {}
        for entry in entries:
            _say(f"alone: {entry.name}")
            try:
                with entry.start(_new(directory, "alone"), hops) as one:
                    log = directory / "strace"
                    servers[one.name] = alone.measured(one, hops, log, seconds=amounts.memory_seconds)
            except Exception as failure:  # noqa: BLE001 - a run does not fail because of one server
                missing[entry.name] = _reason(failure)
        measured = _rounds(directory, entries, missing, hops, amounts)
    return {
        "conditions": _conditions(directory, amounts, load) | {"minutes": (time.monotonic() - began) / 60},
        "missing": missing,
        "servers": servers,
        "process": {"start": start},
    } | measured


def _rounds(
    directory: Path, entries: list[lineup.Entry], missing: dict[str, str], hops: sinks.NextHops | None, amounts: Amounts
) -> dict[str, Any]:
    """Run all servers at the same time, and load one after the other; return the figures of mail and of the API."""
    with contextlib.ExitStack() as stack:
        running = []
        for entry in entries:
            if entry.name not in missing:
                try:
                    running.append(stack.enter_context(entry.start(_new(directory, "server"), hops)))
                except Exception as failure:  # noqa: BLE001 - as above
                    missing[entry.name] = _reason(failure)
        _say("all servers run; preparing calls")
        chosen = [case for case in cases.CASES if case.id in amounts.cases]
        mail_rounds = [rounds.MailRounds(case, running, hops, amounts.seconds) for case in chosen]
        waypost = [one for one in running if isinstance(one, Waypost)]
        echo = stack.enter_context(api_servers.echo(directory / "echo"))
        moto = None
        if why_not := api_servers.why_no_moto():
            missing[api_rounds.MOTO] = why_not
        else:
            moto = stack.enter_context(api_servers.moto(directory / "moto"))
        calls = {"requests": amounts.requests, "pairs": amounts.requests // 6}
        api = api_rounds.ApiRounds(waypost, echo, moto, **calls)
        _say("warm-up")
        for case in mail_rounds:
            case.warm_up()
        for number in range(amounts.rounds):
            for case in mail_rounds:
                _say(f"round {number + 1} of {amounts.rounds}: {case.case.title}")
                case.run(number)
            _say(f"round {number + 1} of {amounts.rounds}: the API")
            api.run(number)
    return {
        "cases": [rounds.as_json(case) for case in mail_rounds],
        "api": dict(api.figures),
        "api_failed": api.failed,
    }


def _reason(failure: Exception) -> str:
    """Return why a server could not be measured, in one line."""
    return " ".join(f"{failure or type(failure).__name__}".split())[:300]


def _conditions(directory: Path, amounts: Amounts, load: float) -> dict[str, Any]:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    number = re.search(r"^model\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": f"{model[1]}, model {number[1]}" if model and number else platform.processor(),
        "cores": len(cores.HERE.generators | cores.HERE.servers),
        "generator_cores": len(cores.HERE.generators),
        "cores_shared": cores.HERE.shared,
        "system": _system(),
        "python": platform.python_version(),
        "file_system": _file_system(directory),
        "generator": "smtp-source" if mail.SMTP_SOURCE else "our own generator (smtp-source is not installed)",
        "processor_time": _accounting(),
        "rounds": amounts.rounds,
        "run_seconds": amounts.seconds,
        "load": load,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _accounting() -> str:
    """Return how processor time is counted: with control groups, or from /proc."""
    group = groups.Group("accounting")
    is_complete = group.is_complete
    group.remove()
    return "control groups" if is_complete else "/proc"


def _system() -> str:
    found = re.search(r'^PRETTY_NAME="(.*)"$', Path("/etc/os-release").read_text(), re.MULTILINE)
    return f"{found[1] if found else platform.system()}, Linux {platform.release()}"


def _file_system(directory: Path) -> str:
    """Return the type of the file system with the data. On a file system in memory, the figures ignore durability."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [(Path(point), kind) for point, kind in mounts if directory.is_relative_to(point)]
    return max(around, key=lambda mount: len(mount[0].parts))[1]


def _compile_once(directory: Path) -> None:
    """Let the servers cache their bytecode, as installed programs do, regardless of the caller's environment."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
    process.seconds_to_first_answers(directory / "first", starts=1)


def _new(directory: Path, name: str) -> Path:
    """Return the path of a new directory."""
    return directory / f"{name}-{next(_NUMBERS)}"


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the base case and the API only: about two minutes")
    parser.add_argument("--rounds", type=int, help="the number of rounds")
    parser.add_argument("--seconds", type=float, help="the length of a run of mail, in seconds")
    parser.add_argument("--cases", help="only these cases, separated by commas: " + ",".join(FULL.cases))
    parser.add_argument("--only", default="", help="only mail servers whose name contains this text")
    parser.add_argument("--workers", help="only these numbers of Waypost's worker processes, separated by commas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures of all rounds to a file")
    parser.add_argument("--keep", action="store_true", help="also write docs/benchmarks/ and docs/benchmarks.md")
    options = parser.parse_args()
    amounts = QUICK if options.quick else FULL
    chosen = tuple(options.cases.split(",")) if options.cases else amounts.cases
    options.amounts = Amounts(
        rounds=options.rounds or amounts.rounds,
        seconds=options.seconds or amounts.seconds,
        requests=amounts.requests,
        starts=amounts.starts,
        memory_seconds=amounts.memory_seconds,
        cases=chosen,
        workers=tuple(map(int, options.workers.split(","))) if options.workers else amounts.workers,
    )
    return options


if __name__ == "__main__":
    main()
