"""Runs a server under mixed load, with a fault now and then, and reports what grows (`make soak`).

The exit code is 1 if a quantity grew more than its limit, if acknowledged mail did not arrive, or if a client got an
error while no fault was active.
"""

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from faults.soak import charts, growth, load
from faults.soak.place import opened, wait
from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import TAKEN, Sink
from tests.kit.servers.running import waypost

WINDOWS = 30
"""The number of windows of a run, for each of which the slowest calls are reported."""

RECOVERY = 5.0
"""The time, in seconds, after the end of a fault in which clients may still get errors."""


class Faults:
    """The faults of a run. Each lasts at most some seconds, and the server must recover by itself."""

    def __init__(self, place, sink, seed):
        self._place, self._sink, self._random = place, sink, random.Random(seed)
        self.times = []
        """The begin and the end of each fault, by the monotonic clock, and its name."""

    def one(self):
        """Cause a fault, and wait for its end."""
        kinds = [self.peer_refuses, self.server_reloads, self.worker_is_killed, self.worker_stands_still]
        fault = self._random.choice(kinds)
        began = time.monotonic()
        fault()
        self.times.append((began, time.monotonic(), fault.__name__.replace("_", " ")))

    def peer_refuses(self):
        self._sink.at_end = lambda _: b"451 4.3.0 not now"
        time.sleep(3)
        self._sink.at_end = lambda _: TAKEN

    def server_reloads(self):
        os.kill(self._place.server.run.pid, signal.SIGHUP)

    def worker_is_killed(self):
        if workers := self._place.workers():
            self._random.choice(workers).kill()

    def worker_stands_still(self):
        if workers := self._place.workers():
            worker = self._random.choice(workers)
            worker.suspend()
            time.sleep(2)
            worker.resume()

    def explains(self, at):
        """Return whether an error at a time may come from a fault."""
        return any(began <= at <= ended + RECOVERY for began, ended, _ in self.times)


def main():
    options = _options()
    seconds = options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="waypost-soak-") as directory, Sink() as sink:
        keep = max(10, round(seconds / 20))
        with opened(Path(directory), sink, workers=options.workers, keep=keep) as place:
            faults = Faults(place, sink, options.seed)
            began = time.monotonic()
            with _clients(place, options.clients) as clients:
                samples = _observed(place, faults, began + seconds)
            wait_until(lambda: not place.system.json("queue", limit=1)["deliveries"], pause=0.2)
            found = [one for client in clients for one in client.errors if not faults.explains(one[0])]
            errors = [(at - began, text) for at, text in found]
            relayed = sum(len(client.durations) for client in clients if client.kind == load.RelayedMail.kind)
            report = _report(clients, samples, faults, began, seconds)
            report |= {"relayed": relayed, "arrived": len(sink.counts()), "unexplained_errors": errors[:20]}
            report["workers"] = options.workers
    _say(report)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.keep / "soak.svg").write_text(_image(report))
    failures = [name for name, one in report["quantities"].items() if one["grows"]]
    sys.exit(bool(failures or errors or report["arrived"] < relayed))


@contextmanager
def _clients(place, each):
    """Run `each` clients of each kind during the `with` block."""
    clients = [kind(place) for kind in load.KINDS for _ in range(each)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.end()


def _observed(place, faults, until):
    """Measure the server until a time. Cause a fault in each window, and apply the retention rules after it."""
    samples, length = [], (until - time.monotonic()) / WINDOWS
    every = max(0.5, length / 10)
    for window in range(WINDOWS):
        for _ in wait(until - (WINDOWS - window - 1) * length, every=every):
            if found := place.measured():
                samples.append((time.monotonic(), found))  # noqa: PERF401 - the next value is measured later
        if window % 3 == 1 and window < WINDOWS - 2:
            faults.one()
        purged = waypost("purge", "--data", str(place.server.data), "--config", str(place.settings))
        assert purged.returncode == 0, purged.stderr
    return samples


def _report(clients, samples, faults, began, seconds):
    quantities = {}
    for name, limit in growth.LIMITS.items():
        if not (points := [(at - began, found[name]) for at, found in samples if name in found]):
            continue  # this machine's SQLite cannot measure it
        verdict = growth.judged([value for _, value in points], limit)
        quantities[name] = {
            "unit": limit.unit,
            "before": verdict.before,
            "after": verdict.after,
            "allowed": verdict.allowed,
            "grows": verdict.grows,
            "points": points,
        }
    kinds = {}
    for kind in load.KINDS:
        done = [one for client in clients if client.kind == kind.kind for one in client.durations]
        windows = [[] for _ in range(WINDOWS)]
        for at, duration in done:
            windows[min(WINDOWS - 1, int((at - began) / seconds * WINDOWS))].append(duration)
        kinds[kind.kind] = {
            "calls": len(done),
            "median": statistics.median(duration for _, duration in done) if done else None,
            "p99": [((n + 0.5) * seconds / WINDOWS, _p99(window)) for n, window in enumerate(windows) if window],
        }
    return {
        "minutes": seconds / 60,
        "quantities": quantities,
        "kinds": kinds,
        "faults": [(at - began, name) for at, _, name in faults.times],
    }


def _p99(durations):
    return sorted(durations)[len(durations) * 99 // 100]


def _say(report):
    print(f"{report['minutes']:g} minutes, {len(report['faults'])} faults:", end=" ")
    print(", ".join(dict.fromkeys(name for _, name in report["faults"])))
    for name, one in report["quantities"].items():
        state = "no limit" if one["allowed"] is None else "GROWS" if one["grows"] else "does not grow"
        print(f"  {name}: {one['before']:.1f}, later {one['after']:.1f}{one['unit'] and ' ' + one['unit']} ({state})")
    for name, one in report["kinds"].items():
        p99 = [value for _, value in one["p99"]]
        print(f"  {name}: {one['calls']:,} calls", end="")
        print(f", p99 {statistics.median(p99) * 1000:.0f} ms (slowest window {max(p99) * 1000:.0f} ms)" if p99 else "")
    print(f"  {report['relayed']:,} messages to the other server acknowledged, {report['arrived']:,} arrived")
    for at, text in report["unexplained_errors"]:
        print(f"  error without a fault at {at:.1f}: {text}")


def _image(report):
    series = {}
    for name, one in report["quantities"].items():
        series[f"{name} ({one['unit']})" if one["unit"] else name] = one["points"]
    for name, one in report["kinds"].items():
        series[f"{name} (p99, ms)"] = [(at, value * 1000) for at, value in one["p99"]]
    return charts.drawn(series, report["faults"])


def _options():
    parser = argparse.ArgumentParser(prog="python -m faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="the duration (default: 60)")
    parser.add_argument("--workers", type=int, default=2, help="the number of worker processes (default: 2)")
    parser.add_argument("--clients", type=int, default=1, help="the number of clients of each kind (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="selects the faults (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="write soak.json and soak.svg to a directory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
