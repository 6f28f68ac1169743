"""Floods a Waypost server with idle, slow and very large mail, and measures whether other clients are still served.

The benchmark opens ten thousand idle connections, and starts a thousand slow clients and fifty clients that send
40 MiB, all at the same time. Meanwhile honest clients send mail and calls of the API. Finally it opens thousands of
connections from one address. The targets: the server uses less than 400 MiB, no honest client fails, and the API
responds within 100 ms at the 99th percentile.

The clients run in separate processes, and compete with the server for the processor. With `--nice`, the flooding
clients have a lower priority.
"""

import argparse
import base64
import contextlib
import json
import os
import platform
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flood_api
import flood_smtp
import load
from calls import Pair
from flood_smtp import Delivered, Sample, Served, Standing
from flood_watch import Watch
from flood_worker import Worker, WorkerFailed
from table import table

from waypost.cli.client import Client, ServerRefused
from waypost.testing.process import Server

RSS_LIMIT = 400.0
"""MiB."""

API_LIMIT = 100.0
"""The target for the API's response time at the 99th percentile, in milliseconds."""

MAIL_LIMIT = 10.0
"""The time limit for a small message of an honest client, in seconds. A slower message counts as failed."""

ALLOWED_PER_ADDRESS = 100
"""The number of connections that a server should allow from one source address."""

IDLE_IN_A_PROCESS = 5_000
HONEST = 5
PAGE = 500

ADDRESSES = ("big-alias", "big-primary", "small-alias", "small-primary")


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that SIGTERM also stops and removes everything
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="waypost-flood-", dir=options.directory) as name:
        server = Server(Path(name) / "waypost", *shlex.split(options.serve))
        server.start()
        try:
            flood = Flood(server, options)
            flood.run()
            mistakes = _mistakes(server, flood)
        finally:
            stopped_in = _stop(server)
            if options.log:
                options.log.write_bytes(server.log.read_bytes())
        print(_report(flood, options, stopped_in, _conditions(name)))
    if options.json:
        figures = {"options": vars(options), "phases": [asdict(phase) for phase in flood.watch.phases]}
        options.json.write_text(json.dumps(figures | {"samples": flood.samples}, default=str) + "\n")
    sys.exit(_judge(flood, mistakes, options))


class Flood:
    """Runs the phases of the benchmark, and has their results."""

    def __init__(self, server: Server, options: argparse.Namespace) -> None:
        self.watch = Watch(server.run.pid)
        self.idle, self.tls_idle, self.slow, self.one_address = Standing(), Standing(), Standing(), Standing()
        self.delivered, self.served = Delivered(), Served()
        self.answered = flood_api.Answered()
        self.slow_watched = 0.0
        self._options = options
        self._port = server.smtp[1]
        self._target = flood_api.Target(server.url, server.profile)
        self._instance_id = Client(str(server.data)).get("instance", region=server.profile.region)["id"]
        self._email_address_id = self._make_addresses()

    @property
    def samples(self) -> list[Sample]:
        """The results of the clients that must be served during the whole run."""
        return self.served.samples + self.answered.samples

    def run(self) -> None:
        """Run all phases. Raises `WorkerFailed`."""
        with self._others_served():
            self._calm("before")
            with self._standing_clients() as slow_began:
                self._big_messages()
                self._from_one_address()
                left = slow_began + self._options.watch_slow - time.monotonic()
                if self._options.slow and left > 0:
                    self._calm("held", left)
                self.slow_watched = time.monotonic() - slow_began
            self._calm("after")
        self.watch.stop()

    def _make_addresses(self) -> str:
        """Create two aliases and their primaries; return the id of the address that the API clients describe."""
        signer = flood_api.FloodCalls(self._target, self._instance_id)  # type: ignore[arg-type]
        create = [signer.create(f"{name}@waypost.example") for name in ADDRESSES]
        made = load.drive(self._target.port, create, total=len(create), keep_bodies=True)
        ids = [json.loads(body)["EmailAddressId"] for body in made.bodies]
        pairs = [Pair(primary_id, alias_id) for alias_id, primary_id in zip(ids[::2], ids[1::2], strict=True)]
        load.drive(self._target.port, [signer.associate(pair) for pair in pairs], total=len(pairs))
        identifier: str = ids[-1]
        return identifier

    @contextlib.contextmanager
    def _others_served(self) -> Iterator[None]:
        """Start the honest clients and API clients, which run during all phases."""
        options = self._options
        plan = flood_api.Plan(
            self._target, self._instance_id, self._email_address_id, options.describes, options.updates
        )
        api = Worker(flood_api.api, plan)
        honest = Worker(flood_smtp.honest, self._plan(40, HONEST, recipient="small-alias", pause=options.honest_pause))
        for worker in (api, honest):
            worker.wait_until_ready(30)
        yield
        for worker in (api, honest):
            worker.stop()
        self.answered, self.served = api.result(60), honest.result(flood_smtp.PATIENCE + 10)

    @contextlib.contextmanager
    def _standing_clients(self) -> Iterator[float]:
        """Start idle and slow clients, which stay connected; return the time at which the slow clients become slow."""
        options = self._options
        counts = [min(IDLE_IN_A_PROCESS, options.idle - at) for at in range(0, options.idle, IDLE_IN_A_PROCESS)]
        idle = [self._open("idle opened", flood_smtp.idle, 10 + block, count) for block, count in enumerate(counts)]
        tls_idle = [self._open("TLS opened", flood_smtp.idle, 30, options.tls_idle, tls=True)]
        began = time.monotonic()
        slow = [self._open("slow opened", flood_smtp.slow, 20, options.slow)]
        yield began
        self.idle, self.tls_idle, self.slow = (_together(workers) for workers in (idle, tls_idle, slow))

    def _open(self, phase: str, clients: Any, block: int, count: int, *, tls: bool = False) -> Worker | None:
        if not count:
            return None
        _say(f"{phase}: {count:,}")
        with self.watch.phase(phase):
            worker = self._flooding(clients, self._plan(block, count, tls=tls))
            worker.wait_until_ready(600)
        return worker

    def _big_messages(self) -> None:
        options = self._options
        if options.big:
            _say(f"big messages: {options.big}")
            worker = self._flooding(flood_smtp.big, self._plan(50, options.big, pause=options.retry_pause))
            worker.wait_until_ready(60)
            with self.watch.phase("big"):
                self.delivered = worker.result(options.big_deadline + 2 * flood_smtp.PATIENCE)

    def _from_one_address(self) -> None:
        count = self._options.one_address
        if count:
            _say(f"from one address: {count:,} too many")
            plan = self._plan(66, ALLOWED_PER_ADDRESS + count, at_once=512)
            with self.watch.phase("one address"):
                self.one_address = self._flooding(flood_smtp.one_address, plan).result(600)

    def _calm(self, phase: str, seconds: float | None = None) -> None:
        seconds = self._options.calm if seconds is None else seconds
        _say(f"{phase}: {seconds:.0f} s")
        with self.watch.phase(phase):
            time.sleep(seconds)

    def _flooding(self, clients: Any, plan: flood_smtp.Plan) -> Worker:
        return Worker(clients, plan, nice=self._options.nice)

    def _plan(self, block: int, count: int, *, recipient: str = "big-alias", **others: Any) -> flood_smtp.Plan:
        options = self._options
        return flood_smtp.Plan(
            self._port,
            block,
            count,
            recipient=f"{recipient}@waypost.example",
            per_address=options.per_address,
            burst=options.burst * 1024,
            trickle=options.trickle,
            deadline=options.big_deadline,
            **others,
        )


def _mistakes(server: Server, flood: Flood) -> list[str]:
    """Return sentences about accepted messages that are missing or wrong in the inboxes."""
    _say("looks into the inboxes")
    try:
        return Inboxes(server).mistakes(flood.delivered, flood.served)
    except (ServerRefused, OSError) as error:
        return [f"the inboxes cannot be read: {error}"]


def _together(workers: Sequence[Worker | None]) -> Standing:
    """Stop these clients, and add up their results."""
    there = [worker for worker in workers if worker]
    for worker in there:
        worker.stop()
    return sum((worker.result(60) for worker in there), Standing())


class Inboxes:
    """Checks with the inspection API that accepted mail is in the inboxes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client = Client(str(server.data))

    def mistakes(self, delivered: Delivered, served: Served) -> list[str]:
        """Return sentences about accepted messages that are missing or wrong."""
        found = []
        for kind, ids in (("big", delivered.ids.values()), ("small", served.ids)):
            for side in ("alias", "primary"):
                address = f"{kind}-{side}@waypost.example"
                missing = set(ids) - set(self._ids(address))
                if missing:
                    found.append(f"{len(missing)} of {len(ids)} accepted messages are not in the inbox of {address}")
        if delivered.ids:
            found += self._altered(*next(iter(delivered.ids.items())))
        return found

    def _ids(self, address: str) -> Iterator[str]:
        query: dict[str, Any] = {"address": address, "limit": PAGE}
        while page := self._client.get("messages", **query)["messages"]:
            yield from (message["id"] for message in page)
            query["after"] = page[-1]["id"]

    def _altered(self, number: int, identifier: str) -> Iterator[str]:
        """Compare both copies of a big message with the message that was sent."""
        sent = flood_smtp.big_header(number) + flood_smtp.big_body()
        for side in ("alias", "primary"):
            copy = self._raw(identifier, f"big-{side}@waypost.example")
            if not copy.endswith(sent) or len(copy) > len(sent) + 2000:
                yield f"the copy of {identifier} at the {side} address differs from the message that was sent"

    def _raw(self, identifier: str, address: str) -> bytes:
        query = urllib.parse.urlencode({"address": address})
        key = self._server.profile.key
        shown = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
        url = f"{self._server.url}/_waypost/messages/{identifier}/raw?{query}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Basic {shown}"})) as answer:
            octets: bytes = answer.read()
            return octets


@dataclass(frozen=True, slots=True)
class Latency:
    """Statistics of some samples: latencies in milliseconds, and the numbers of samples and failures."""

    count: int
    failed: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Latency":
        failed = sum(bool(sample.failure) for sample in samples)
        milliseconds = [sample.seconds * 1000 for sample in samples]
        if len(milliseconds) < 2:
            return cls(len(milliseconds), failed, *[sum(milliseconds)] * 3)
        cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
        return cls(len(milliseconds), failed, cuts[49], cuts[98], max(milliseconds))

    @property
    def cells(self) -> tuple[str, ...]:
        figures = (f"{figure:,.1f}" for figure in (self.p50, self.p99, self.longest))
        return (f"{self.count:,}", *figures, str(self.failed))


def _report(flood: Flood, options: argparse.Namespace, stopped_in: str, conditions: str) -> str:
    parts = [
        conditions,
        _server_table(flood),
        _standing_table(flood, options),
        _big_lines(flood, options),
        *(f"## {title}\n\n{_latency_table(flood, kind)}" for kind, title in _KINDS.items()),
        f"API clients began calls up to {_p99(flood.answered.late):.1f} ms late at p99; stopped in {stopped_in}.",
    ]
    return "\n\n".join(part for part in parts if part)


_KINDS = {
    "mail": f"Honest mail: {HONEST} clients, 4 KB, from the connection to the 250",
    flood_api.DESCRIBE: "DescribeEmailAddress, signed",
    flood_api.UPDATE: "UpdateEmailAddressMetadata, signed, durable",
}


def _server_table(flood: Flood) -> str:
    rows = [
        (phase.name, f"{phase.seconds:.1f}", f"{phase.rss_peak:.0f}", f"{phase.rss_end:.0f}", f"{phase.cpu:.1f}")
        for phase in flood.watch.phases
    ]
    rows.append(("highest (VmHWM)", "", f"{flood.watch.peak:.0f}", "", ""))
    return "## The server\n\n" + table(("phase", "s", "RSS peak MiB", "at its end", "CPU s"), rows)


def _standing_table(flood: Flood, options: argparse.Namespace) -> str:
    kinds = {
        "idle": (flood.idle, options.idle, _growth(flood, "idle opened", flood.idle)),
        "idle with TLS": (flood.tls_idle, options.tls_idle, _growth(flood, "TLS opened", flood.tls_idle)),
        "slow senders": (flood.slow, options.slow, _growth(flood, "slow opened", flood.slow)),
        "one address": (
            flood.one_address,
            options.one_address and options.one_address + ALLOWED_PER_ADDRESS,
            "",
        ),
    }
    rows = [
        (
            name,
            f"{wanted:,}",
            f"{standing.opened:,}",
            f"{standing.seconds:.1f}",
            growth,
            _counted(standing.refused),
            _counted(standing.ended),
            _span(standing.ended_after),
        )
        for name, (standing, wanted, growth) in kinds.items()
        if wanted
    ]
    head = ("connections", "tried", "opened", "in s", "KiB each", "refused with", "ended by the server", "after s")
    return "## Connections\n\n" + table(head, rows)


def _big_lines(flood: Flood, options: argparse.Namespace) -> str:
    if not options.big:
        return ""
    delivered = flood.delivered
    return (
        f"## Big messages\n\n{len(delivered.ids)} of {options.big} messages of 40 MiB were accepted, each after "
        f"{_span(delivered.seconds)} s. Replies to the attempts: {_counted(delivered.attempts)}."
    )


def _latency_table(flood: Flood, kind: str) -> str:
    samples = [sample for sample in flood.samples if sample.kind == kind]
    rows = [
        (phase.name, *Latency.of([sample for sample in samples if phase.has(sample.began)]).cells)
        for phase in flood.watch.phases
    ]
    rows.append(("the whole run", *Latency.of(samples).cells))
    failures = Counter(sample.failure for sample in samples if sample.failure)
    note = f"\n\nFailures: {_counted(failures)}." if failures else ""
    return table(("phase", "count", "p50 ms", "p99 ms", "max ms", "failed"), rows) + note


def _judge(flood: Flood, mistakes: Sequence[str], options: argparse.Namespace) -> int:
    """Print whether each target was met; return the exit code."""
    verdicts = [
        (flood.watch.peak < RSS_LIMIT, f"memory under {RSS_LIMIT:.0f} MiB: {flood.watch.peak:.0f} MiB at most"),
        _mail_verdict(flood, mistakes, options.big),
        _api_verdict(flood),
    ]
    print()
    for kept, text in verdicts:
        print(f"{'PASS' if kept else 'FAIL'}  {text}")
    return 0 if all(kept for kept, _ in verdicts) else 1


def _mail_verdict(flood: Flood, mistakes: Sequence[str], big: int) -> tuple[bool, str]:
    mail, accepted = Latency.of(flood.served.samples), len(flood.delivered.ids)
    kept = mail.count > 0 and not mail.failed and mail.longest <= MAIL_LIMIT * 1000 and accepted == big and not mistakes
    return kept, (
        f"honest clients served within {MAIL_LIMIT:.0f} s: {mail.failed} of {mail.count:,} small messages failed, "
        f"{mail.longest / 1000:.1f} s at most; {accepted} of {big} big ones accepted; "
        + ("; ".join(mistakes) or "every message in both inboxes, and a big one compared byte for byte")
    )


def _api_verdict(flood: Flood) -> tuple[bool, str]:
    """Return the result for the target of the API, which the slower operation determines."""
    kinds = (flood_api.DESCRIBE, flood_api.UPDATE)
    calls = {kind: [sample for sample in flood.answered.samples if sample.kind == kind] for kind in kinds}
    whole = [Latency.of(samples) for samples in calls.values()]
    slowest, failed = max(latency.p99 for latency in whole), sum(latency.failed for latency in whole)
    in_phases = (
        (Latency.of([sample for sample in samples if phase.has(sample.began)]).p99, phase.name)
        for samples in calls.values()
        for phase in flood.watch.phases
    )
    worst, phase_name = max(in_phases)
    return slowest <= API_LIMIT and not failed, (
        f"API within {API_LIMIT:.0f} ms at p99: {slowest:.1f} ms over the whole run "
        f"(in its worst phase, {phase_name}: {worst:.1f} ms), {failed} calls failed"
    )


def _growth(flood: Flood, name: str, standing: Standing) -> str:
    """Return the memory in KiB per connection of a phase, from the growth of the server's memory."""
    phases = flood.watch.phases
    at = [number for number, phase in enumerate(phases) if phase.name == name]
    if not at or not standing.opened:
        return ""
    grown = phases[at[-1]].rss_end - phases[at[0] - 1].rss_end
    return f"{grown * 1024 / standing.opened:.1f}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} × {what}" for what, count in counts.most_common()) or "none"


def _span(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.1f}–{max(seconds):.1f}" if seconds else ""


def _p99(seconds: Sequence[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1000 if len(seconds) > 1 else 0.0


def _conditions(directory: str) -> str:
    kind = subprocess.check_output(["stat", "--file-system", "--format=%T", directory], text=True).strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}, "
        f"files on {kind}, at most {files:,} of them open in a process."
    )


def _stop(server: Server) -> str:
    began = time.monotonic()
    try:
        server.stop()
    except subprocess.TimeoutExpired:
        return "more than 30 s: killed"
    return f"{time.monotonic() - began:.1f} s"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    number: Callable[..., Any] = parser.add_argument
    parser.add_argument("--quick", action="store_true", help="run a tenth of all clients, for a shorter time")
    number("--idle", type=int, help="number of idle connections (default 10,000)")
    number("--tls-idle", type=int, default=0, help="number of idle connections with STARTTLS (default 0)")
    number("--slow", type=int, help="number of slow clients (default 1,000)")
    number("--burst", type=int, default=16, help="KiB that each slow client sends first (default 16)")
    number("--trickle", type=int, default=20, help="bytes per second that it sends after that (default 20)")
    number("--watch-slow", type=float, help="minimum seconds to watch the slow clients (default 75, quick 15)")
    number("--big", type=int, help="number of simultaneous messages of 40 MiB (default 50)")
    number("--big-deadline", type=float, default=300.0, help="time limit for these messages in seconds (default 300)")
    number("--retry-pause", type=float, default=2.0, help="seconds until such a client tries again (default 2)")
    number("--one-address", type=int, help="number of connections from one address above its limit (default 5,000)")
    number("--per-address", type=int, default=50, help="connections from each other address (default 50)")
    number("--describes", type=float, default=100.0, help="DescribeEmailAddress calls per second (default 100)")
    number("--updates", type=float, default=20.0, help="UpdateEmailAddressMetadata calls per second (default 20)")
    number("--honest-pause", type=float, default=0.05, help="seconds between an honest client's messages")
    number("--calm", type=float, help="seconds to measure before and after the flood (default 10, quick 3)")
    number("--nice", type=int, default=0, help="niceness of the flooding clients (default 0)")
    number("--serve", default="", metavar="OPTIONS", help="additional options for `waypost serve`, as one argument")
    number("--directory", metavar="DIR", help="directory for the data (default: the temporary directory)")
    number("--log", type=Path, metavar="FILE", help="keep the server's log")
    number("--json", type=Path, metavar="FILE", help="also write all samples to a file")
    options = parser.parse_args()
    usual = {"idle": 10_000, "slow": 1_000, "big": 50, "one_address": 5_000, "calm": 10.0, "watch_slow": 75.0}
    quick = {name: value // 10 for name, value in usual.items()} | {"calm": 3.0, "watch_slow": 15.0}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


if __name__ == "__main__":
    try:
        main()
    except WorkerFailed as error:
        sys.exit(f"FAIL  {error}")
