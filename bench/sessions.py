"""Measures Waypost with one and two worker processes, with few and many clients at once (`make sessions`).

A client waits for the reply to each command, and each reply to a message waits for the disk. Therefore, few clients
cannot keep all cores busy, and only many clients show how much work the worker processes can do. All clients send
messages of 4 KB to an alias over kept connections.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import lineup
import mail
import report
from figures import ratio_of
from peers import peer
from table import table

SERVERS = [entry for entry in lineup.entries([1, 2]) if entry.name.startswith("Waypost")]
WARM_UP = 2_000
"""The number of messages that each server receives before the first round."""


@dataclass
class Figures:
    """What was measured in all rounds of one server with one number of sessions."""

    rates: list[float] = field(default_factory=list)
    """Messages per second."""
    shares: list[float] = field(default_factory=list)
    """How much of the processor time of all cores the whole machine used, with the load generator: 1 is everything."""


def main() -> None:
    options = _options()
    found: dict[tuple[int, str], Figures] = {}
    with tempfile.TemporaryDirectory(prefix="waypost-sessions-") as name, contextlib.ExitStack() as stack:
        Path(name).chmod(0o755)  # PostgreSQL runs as another user, who must be able to access its directory
        running = []
        for number, entry in enumerate(SERVERS):
            if entry.why_not:
                print(f"{entry.name} is not measured: {entry.why_not}")
            else:
                running.append(stack.enter_context(entry.start(Path(name, str(number)), None)))
        recipients = {one.name: one.recipient(peer.INBOX) for one in running}
        for one in running:
            mail.send(one.port, recipients[one.name], WARM_UP, keep_connections=True)
        syncs = []
        for _ in range(options.rounds):
            syncs.append(1000 * _sync_seconds(Path(name)))
            for sessions in options.sessions:
                for one in running:
                    figures = found.setdefault((sessions, one.name), Figures())
                    _measure(figures, one.port, recipients[one.name], options.messages, sessions)
    print(f"A sync of 64 KiB takes {statistics.median(syncs):.1f} ms ({min(syncs):.1f}–{max(syncs):.1f}).\n")
    head = ["sessions", "server", "messages/s", "÷ one worker process", "used of all cores"]
    print(table(head, [_row(sessions, server, found) for sessions, server in sorted(found)]))


def _measure(figures: Figures, port: int, recipient: str, messages: int, sessions: int) -> None:
    busy, available = _processor_time()
    seconds = mail.send(port, recipient, messages, keep_connections=True, sessions=sessions)
    busy_after, available_after = _processor_time()
    figures.rates.append(messages / seconds)
    figures.shares.append((busy_after - busy) / (available_after - available))


def _sync_seconds(directory: Path) -> float:
    """Return the median time in which the disk stores 64 KiB that replace others in a file, in seconds."""
    octets, seconds = os.urandom(65_536), []
    with (directory / "synced").open("wb", buffering=0) as file:
        for _ in range(50):
            file.seek(0)
            file.write(octets)
            began = time.perf_counter()
            os.fdatasync(file)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _processor_time() -> tuple[int, int]:
    """Return the processor time of the machine since its start, in ticks: used, and used or idle (proc(5)).

    What other machines on the same hardware have taken is in neither of them.
    """
    with Path("/proc/stat").open() as file:
        user, nice, system, idle, iowait, irq, softirq = map(int, file.readline().split()[1:8])
    used = user + nice + system + irq + softirq
    return used, used + idle + iowait


def _row(sessions: int, server: str, found: dict[tuple[int, str], Figures]) -> list[str]:
    figures = found[sessions, server]
    one_worker = found[sessions, server.removesuffix(", 2 workers")]
    return [
        f"{sessions:,}",
        server,
        report.rate(figures.rates),
        "" if figures is one_worker else f"{ratio_of(figures.rates, one_worker.rates):.2f} ×",
        f"{statistics.median(figures.shares):.0%} ({min(figures.shares):.0%}–{max(figures.shares):.0%})",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[20, 200, 400], help="(default: 20 200 400)")
    parser.add_argument("--messages", type=int, default=10_000, help="the messages of a round (default: 10000)")
    parser.add_argument("--rounds", type=int, default=5, help="the number of rounds (default: 5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
