"""Compares Waypost with other servers in one run, and prints tables with medians and targets."""

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mail
import peers
import postfix
import process
import table
from rounds import HttpRounds, MailRounds

ROUNDS, QUICK_ROUNDS = 5, 3
MESSAGES, QUICK_MESSAGES = 2_000, 500
REQUESTS, QUICK_REQUESTS = 12_000, 4_000
PAIRS, QUICK_PAIRS = 2_000, 600
STARTS, QUICK_STARTS = 5, 3

A_CONNECTION_EACH = "a connection for each message"
CONNECTIONS_KEPT = "connections kept"


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that SIGTERM also stops and removes everything
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postfix's processes run as another user, who must be able to access their directory
        _compile_once(directory)
        figures = _measure(directory, options)
    print(_report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _measure(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run all measurements, and return them as plain values."""
    began = time.monotonic()
    conditions = _conditions(directory, options)
    _say("starts")
    start = process.seconds_to_first_answers(directory, starts=options.starts)
    missing = {}
    with contextlib.ExitStack() as running:
        waypost = running.enter_context(peers.waypost(directory))
        pid = waypost.server.run.pid
        rss_idle = process.rss(pid)
        mail_peers: dict[str, peers.MailPeer] = {"Waypost": waypost}
        if options.database:
            arguments = ("--database", options.database)
            shared = running.enter_context(peers.waypost(directory, *arguments, name="on-postgresql"))
            mail_peers["Waypost on PostgreSQL"] = shared
        why_no_postfix = postfix.why_not()
        if why_no_postfix:
            missing["Postfix"] = why_no_postfix
        else:
            mail_peers[f"Postfix {postfix.version()}"] = running.enter_context(peers.private_postfix(directory))
        mail_peers["aiosmtpd, null handler"] = running.enter_context(peers.null_smtp())
        if peers.has_smtp_sink():
            mail_peers["smtp-sink, in C"] = running.enter_context(peers.smtp_sink())
        else:
            missing["smtp-sink, in C"] = "not installed"
        echo = running.enter_context(peers.echo())

        rounds = {
            A_CONNECTION_EACH: MailRounds(mail_peers, messages=options.messages, keep_connections=False),
            CONNECTIONS_KEPT: MailRounds(mail_peers, messages=options.messages, keep_connections=True),
        }
        http = HttpRounds(waypost, echo, requests=options.requests, pairs=options.pairs)
        for kind in rounds.values():
            kind.warm_up()
        for number in range(options.rounds):
            _say(f"round {number + 1} of {options.rounds}")
            for kind in rounds.values():
                kind.run(number)
            http.run(number)
        rss_after = process.rss(pid)
    return {
        "conditions": conditions | {"minutes": (time.monotonic() - began) / 60},
        "mail": {name: kind.figures for name, kind in rounds.items()},
        "missing": missing,
        "http": http.figures,
        "process": {"start": start, "rss_idle": rss_idle, "rss_after": rss_after},
    }


def _report(figures: dict[str, Any]) -> str:
    """Return the tables, with the median, slowest and fastest round. Ratios are medians of each round's ratio."""
    conditions = figures["conditions"]
    intro = (
        f"{conditions['rounds']} rounds of {conditions['messages']} messages, {conditions['requests']} calls and "
        f"{conditions['pairs']} associations, in {conditions['minutes']:.1f} minutes. "
        f"{conditions['cores']} cores, Python {conditions['python']}, files on {conditions['file_system']}, "
        f"mail from {conditions['generator']}. Medians of the rounds; in brackets the slowest and the fastest."
    )
    parts = [intro]
    for name, measured in figures["mail"].items():
        parts += [
            f"## Mail to an alias, two inboxes: 4 KB, {mail.SESSIONS} sessions, {name}",
            table.mail(measured, figures["missing"]),
        ]
    parts += ["## The API: 32 connections", table.http(figures["http"])]
    parts += ["## The process", table.process(figures["process"])]
    return "\n\n".join(parts)


def _conditions(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "rounds": options.rounds,
        "messages": options.messages,
        "requests": options.requests,
        "pairs": options.pairs,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "file_system": _file_system(directory),
        "generator": "smtp-source" if mail.SMTP_SOURCE else "our own generator (smtp-source is not installed)",
    }


def _file_system(directory: Path) -> str:
    """Return the type of the file system with the data. On a file system in memory, the figures ignore durability."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [(Path(point), kind) for point, kind in mounts if directory.is_relative_to(point)]
    return max(around, key=lambda mount: len(mount[0].parts))[1]


def _compile_once(directory: Path) -> None:
    """Let the servers cache their bytecode, as installed programs do, regardless of the caller's environment."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
    with peers.waypost(directory, name="first"):
        pass


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds: less than a minute, and less exact"
    )
    parser.add_argument("--rounds", type=int, help=f"rounds (default {ROUNDS}, quick {QUICK_ROUNDS})")
    parser.add_argument(
        "--messages", type=int, help=f"messages in a mail round (default {MESSAGES}, quick {QUICK_MESSAGES})"
    )
    parser.add_argument(
        "--database", metavar="URL", help="an empty PostgreSQL database, to measure Waypost also with PostgreSQL"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures of all rounds to a file")
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.messages = options.messages or (QUICK_MESSAGES if options.quick else MESSAGES)
    options.requests = QUICK_REQUESTS if options.quick else REQUESTS
    options.pairs = QUICK_PAIRS if options.quick else PAIRS
    options.starts = QUICK_STARTS if options.quick else STARTS
    return options


if __name__ == "__main__":
    main()
