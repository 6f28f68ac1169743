"""Runs the rounds of mail: each case, with each server in a rotating order."""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import cases
import mail
from figures import percentile
from peers import peer
from peers.sinks import NextHops
from peers.waypost import Waypost
from probe import Probe, within

T = TypeVar("T")

SLOW = 6
"""A server whose run takes this many times as long as planned takes part in no further round of the case."""

QUIET = 3.0
"""The time after which no more copies are expected, in seconds."""

Figures = dict[str, list[float]]
"""The measurements by name, with a figure for each round."""


class MailRounds:
    """Sends messages to each server that takes part in a case."""

    def __init__(self, case: cases.Case, peers: Sequence[peer.MailPeer], hops: NextHops | None, seconds: float) -> None:
        """A run takes about `seconds`, so slow servers get fewer messages."""
        self.case = case
        self.figures: dict[str, Figures] = {}
        self.latencies: dict[str, list[float]] = defaultdict(list)
        """The response times of all rounds, in milliseconds."""
        self.failed: dict[str, str] = {}
        self._hops = hops
        self._seconds = seconds
        self._too_long = max(4.0, SLOW * seconds)
        self._peers = [one for one in peers if one.kind in case.kinds and case.path in one.domains]
        self._counts: dict[str, int] = {}

    def warm_up(self) -> None:
        """Send a few messages that are not counted, so that processes are running, and see how many a run needs.

        If this takes long already, its figures are the only figures of the server.
        """
        for one in self._peers:
            if one.is_late:
                continue
            measured, seconds = self._try(one, 2 * self.case.sessions)
            if measured and seconds > self._too_long:
                self._keep(one, measured)
                continue
            if measured:  # once more, because a few messages say little about the rate
                measured, _ = self._try(one, cases.amount(self.case, measured["delivered"], self._seconds / 4))
            if measured:
                self._counts[one.name] = cases.amount(self.case, measured["delivered"], self._seconds)
                self.latencies[one.name].clear()

    def run(self, number: int) -> None:
        for one in turned(self._peers, number):
            if one.name in self._counts and not one.is_late:
                measured, seconds = self._try(one, self._counts[one.name])
                if measured:
                    self._keep(one, measured)
                if seconds > self._too_long or not measured:
                    del self._counts[one.name]

    def _keep(self, one: peer.MailPeer, measured: Mapping[str, float]) -> None:
        figures = self.figures.setdefault(one.name, defaultdict(list))
        for name, value in measured.items():
            figures[name].append(value)

    def _try(self, one: peer.MailPeer, count: int) -> tuple[dict[str, float] | None, float]:
        """Run the load once; return the measurements and the seconds. None if the server failed, which is recorded."""
        began = time.monotonic()
        try:
            measured, latencies = measure(one, self.case, count, self._hops)
        except Exception as failure:  # noqa: BLE001 - a run does not fail because of one server
            self.failed[one.name] = " ".join(str(failure).split())[:200]
            if isinstance(failure, peer.PeerFailed):
                one.is_late = True
                self._let_copies_arrive()
            print(f"{one.name} failed in the case {self.case.id}: {failure}", file=sys.stderr, flush=True)
            return None, time.monotonic() - began
        self.latencies[one.name] += latencies
        return measured, time.monotonic() - began

    def _let_copies_arrive(self) -> None:
        """Wait until the next hop gets no more messages, so that late copies do not count for other servers."""
        before = -1
        while self._hops and self.case.path != peer.INBOX and before != self._hops.count(self.case.path):
            before = self._hops.count(self.case.path)
            time.sleep(QUIET)


def measure(
    one: peer.MailPeer, case: cases.Case, count: int, hops: NextHops | None
) -> tuple[dict[str, float], list[float]]:
    """Send about `count` messages to a server; return the measurements, and the response times in milliseconds.

    Raises `MailFailed`, or `PeerFailed` if messages are not delivered.
    """
    recipient = one.recipient(case.path)
    one.inboxes.begin()
    before = hops.count(case.path) if hops and case.path != peer.INBOX else 0
    used, generated = one.cpu_seconds(), _generator_seconds(hops)
    began = time.perf_counter()
    with _load(one, case, recipient, count) as (sent, latencies):
        accepted = time.perf_counter() - began
        if case.path != peer.INBOX and hops:
            copies = before + 2 * sent
            peer.wait_until(lambda: hops.count(case.path) >= copies, what=f"{2 * sent} copies are at the next hop")
        elif not isinstance(one, Waypost):
            peer.wait_until(lambda: one.inboxes.has(sent), what=f"{sent} messages are in each inbox")
        delivered = time.perf_counter() - began
    measured = {
        "messages": sent,
        "accepted": sent / accepted,
        "delivered": sent / delivered,
        "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99),
        "cpu": (one.cpu_seconds() - used) / sent * 1e6,
        "generator_cpu": (_generator_seconds(hops) - generated) / sent * 1e6,
    }
    # Waypost's inboxes are counted after the measurement, because accepted messages are already delivered.
    if isinstance(one, Waypost) and case.path == peer.INBOX and not one.inboxes.has(sent):
        raise peer.PeerFailed(f"not all of {sent} accepted messages are in both inboxes")
    return measured, latencies


@contextmanager
def _load(one: peer.MailPeer, case: cases.Case, recipient: str, count: int) -> Iterator[tuple[int, list[float]]]:
    """Send messages over all sessions, one of which measures response times; yield their number, and the times.

    A single session is of the generator first, and then of the client that measures. This client sends at most as many
    messages as the generator, also if the generator waits for connections.
    """
    options = {"size": case.size, "keep_connections": case.kept}
    is_alone = case.sessions == 1
    probe = Probe(one.port, recipient, count=max(20, count // 3) if is_alone else count, **options)
    try:
        if not is_alone:
            probe.begin()
        began = time.perf_counter()
        mail.send(one.port, recipient, count, sessions=max(1, case.sessions - 1), **options)
        ended = time.perf_counter()
        if is_alone:
            probe.begin()
        else:
            probe.stop()
        timed = probe.result()
        yield count + len(timed), [each for _, each in timed] if is_alone else within(timed, began, ended)
    finally:
        probe.stop()
        probe.wait()


def _generator_seconds(hops: NextHops | None) -> float:
    """Return the processor time of all generators so far, and of the next hops, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + (hops.cpu_seconds() if hops else 0)


def turned(values: Sequence[T], number: int) -> list[T]:
    """Return the values, rotated by the number of the round, so that no server is always first."""
    start = number % len(values) if values else 0
    return [*values[start:], *values[:start]]


def as_json(rounds: MailRounds) -> dict[str, object]:
    """Return a case and its figures as plain values."""
    latency: Mapping[str, Mapping[str, float]] = {
        name: {"count": len(times), "p50": percentile(times, 50), "p99": percentile(times, 99)}
        for name, times in rounds.latencies.items()
        if name in rounds.figures
    }
    case = rounds.case
    return {
        "id": case.id,
        "title": case.title,
        "size": case.size,
        "sessions": case.sessions,
        "kept": case.kept,
        "path": case.path,
        "figures": rounds.figures,
        "latency": latency,
        "failed": rounds.failed,
    }
