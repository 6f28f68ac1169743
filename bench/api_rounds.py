"""Runs the rounds of API calls: to Waypost, to a bare echo server, and to moto, in a rotating order."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import calls
import load
from groups import Group
from peers.api_servers import Listener, Moto
from peers.waypost import Waypost
from rounds import Figures, turned

DESCRIBED = 128
"""The number of linked pairs of email addresses that DescribeEmailAddress reads."""

ECHO, MOTO = "bare ASGI echo", "moto"

ECHO_FACTOR, MOTO_SHARE = 4, 20
"""The echo server gets more requests than Waypost, and moto fewer, so that their runs take about as long."""


@dataclass(frozen=True, slots=True)
class _Target:
    """An operation of a server."""

    operation: str
    name: str
    port: int
    groups: tuple[Group, ...]


class ApiRounds:
    """Sends signed calls to Waypost servers, the same requests to the echo server, and DescribeInstance to moto."""

    def __init__(
        self, servers: Sequence[Waypost], echo: Listener, moto: Moto | None, *, requests: int, pairs: int
    ) -> None:
        self.figures: dict[str, dict[str, Figures]] = defaultdict(dict)
        """The figures by operation and server."""
        self.failed: dict[str, str] = {}
        """The reasons for operations that failed."""
        self._requests = requests
        self._runs: dict[str, Callable[[], None]] = {}
        for server in servers:
            try:
                waypost = _Calls(server, pairs)
            except (load.LoadFailed, subprocess.TimeoutExpired) as failure:
                self.failed[server.name] = str(failure)[:200]
                continue
            self._runs[f"{server.name}: describe"] = partial(self._describe, waypost)
            self._runs[f"{server.name}: associate"] = partial(self._associate, waypost)
            if "echo" not in self._runs:
                target, echoed = _Target("echo", ECHO, echo.port, (echo.group,)), waypost.describes()
                self._runs["echo"] = partial(self._measure, target, echoed, ECHO_FACTOR * requests)
        if moto:
            emulated = _Target("describe_instance", MOTO, moto.port, (moto.group,))
            total = max(requests // MOTO_SHARE, load.CONNECTIONS)
            self._runs[MOTO] = partial(self._measure, emulated, [moto.describe_instance], total)

    def run(self, number: int) -> None:
        for name in turned(list(self._runs), number):
            try:
                self._runs[name]()
            except (load.LoadFailed, subprocess.TimeoutExpired) as failure:
                self.failed[name] = str(failure)[:200]
                del self._runs[name]
                print(f"{name} failed: {failure}", file=sys.stderr, flush=True)

    def _describe(self, waypost: "_Calls") -> None:
        self._measure(waypost.target("describe"), waypost.describes(), self._requests)

    def _associate(self, waypost: "_Calls") -> None:
        associates = waypost.associates()
        self._measure(waypost.target("associate"), associates, len(associates))
        waypost.disassociate()

    def _measure(self, target: _Target, requests: Sequence[bytes], total: int) -> None:
        used_before = sum(group.cpu_seconds() for group in target.groups)
        result = load.drive(target.port, requests, total=total)
        used = sum(group.cpu_seconds() for group in target.groups) - used_before
        figures = self.figures[target.operation].setdefault(target.name, defaultdict(list))
        figures["per_second"].append(result.per_second)
        figures["p50"].append(result.p50)
        figures["p99"].append(result.p99)
        figures["cpu"].append(used / total * 1e6)


class _Calls:
    """The calls to one Waypost server, which has email addresses for them."""

    def __init__(self, server: Waypost, pairs: int) -> None:
        self.server = server
        self._calls = calls.Calls(server.server, server.instance_id)
        made = self._make_pairs(pairs + DESCRIBED)
        self._pairs, self._linked = made[:pairs], made[pairs:]
        self._send([self._calls.associate(pair) for pair in self._linked])

    def target(self, operation: str) -> _Target:
        return _Target(operation, self.server.name, self.server.http_port, self.server.groups)

    def describes(self) -> list[bytes]:
        return [self._calls.describe(pair.primary_id) for pair in self._linked]

    def associates(self) -> list[bytes]:
        return [self._calls.associate(pair) for pair in self._pairs]

    def disassociate(self) -> None:
        """Unlink the pairs for the next round, without measuring it."""
        self._send([self._calls.disassociate(pair) for pair in self._pairs])

    def _make_pairs(self, count: int) -> list[calls.Pair]:
        domain = f"calls{id(self)}.example"
        creates = [self._calls.create(f"address-{number}@{domain}") for number in range(2 * count)]
        created = load.drive(self.server.http_port, creates, total=len(creates), keep_bodies=True)
        ids = [json.loads(body)["EmailAddressId"] for body in created.bodies]
        return [calls.Pair(ids[number], ids[number + 1]) for number in range(0, len(ids), 2)]

    def _send(self, requests: Sequence[bytes]) -> None:
        """Send each of these requests once."""
        load.drive(self.server.http_port, requests, total=len(requests))
