"""The rounds: mail to every mail peer, and calls to Waypost and to the echo, in an order that moves on each time."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import calls
import load
import mail
from peers import MailPeer, Waypost

T = TypeVar("T")

DESCRIBED = 128
"""Pairs of linked email addresses that DescribeEmailAddress is asked about."""

Figures = dict[str, list[float]]
"""What was measured, by its name; a figure for each round."""


class MailRounds:
    """Messages to each peer, as many to one as to the other."""

    def __init__(self, peers: Mapping[str, MailPeer], *, messages: int, keep_connections: bool) -> None:
        self._peers = peers
        self._messages = messages
        self._keep_connections = keep_connections
        self.figures: dict[str, Figures] = {name: defaultdict(list) for name in peers}

    def warm_up(self) -> None:
        """A few messages that are not counted, so that processes are forked and files are there."""
        for peer in self._peers.values():
            peer.begin_round()
            mail.send(peer.port, peer.recipient, mail.SESSIONS * 2, keep_connections=self._keep_connections)
            peer.wait_for(mail.SESSIONS * 2)

    def run(self, number: int) -> None:
        for name in _turned(list(self._peers), number):
            peer = self._peers[name]
            peer.begin_round()
            began = time.perf_counter()
            accepted = mail.send(peer.port, peer.recipient, self._messages, keep_connections=self._keep_connections)
            peer.wait_for(self._messages)
            # Waypost's inboxes are counted after the clock: there, accepted is delivered.
            delivered = accepted if isinstance(peer, Waypost) else time.perf_counter() - began
            self.figures[name]["accepted"].append(self._messages / accepted)
            self.figures[name]["delivered"].append(self._messages / delivered)


class HttpRounds:
    """Signed calls to Waypost, and the same requests to the echo."""

    def __init__(self, waypost: Waypost, echo_port: int, *, requests: int, pairs: int) -> None:
        self._waypost = waypost.http_port
        self._echo = echo_port
        self._requests = requests
        self._calls = calls.Calls(waypost.server, waypost.instance_id)
        made = self._make_pairs(pairs + DESCRIBED)
        self._pairs, self._linked = made[:pairs], made[pairs:]
        self._send([self._calls.associate(pair) for pair in self._linked])
        self._runs = {"echo": self._run_echo, "describe": self._run_describe, "associate": self._run_associate}
        self.figures: dict[str, Figures] = {name: defaultdict(list) for name in self._runs}

    def run(self, number: int) -> None:
        for name in _turned(list(self._runs), number):
            result = self._runs[name]()
            for figure in ("per_second", "p50", "p99"):
                self.figures[name][figure].append(getattr(result, figure))

    def _run_echo(self) -> load.Result:
        # Twice as many, because it is so much faster; the very requests that Waypost gets.
        return load.drive(self._echo, self._describes(), total=2 * self._requests)

    def _run_describe(self) -> load.Result:
        return load.drive(self._waypost, self._describes(), total=self._requests)

    def _run_associate(self) -> load.Result:
        result = self._send([self._calls.associate(pair) for pair in self._pairs])
        # Not measured: the next round needs them free again.
        self._send([self._calls.disassociate(pair) for pair in self._pairs])
        return result

    def _describes(self) -> list[bytes]:
        return [self._calls.describe(pair.primary_id) for pair in self._linked]

    def _make_pairs(self, count: int) -> list[calls.Pair]:
        creates = [self._calls.create(f"address-{number}@calls.example") for number in range(2 * count)]
        created = load.drive(self._waypost, creates, total=len(creates), keep_bodies=True)
        ids = [json.loads(body)["EmailAddressId"] for body in created.bodies]
        return [calls.Pair(ids[number], ids[number + 1]) for number in range(0, len(ids), 2)]

    def _send(self, requests: Sequence[bytes]) -> load.Result:
        """Each of these once."""
        return load.drive(self._waypost, requests, total=len(requests))


def _turned(names: Sequence[T], number: int) -> list[T]:
    """The names in their order, beginning with another one each round, so that nobody is always first."""
    start = number % len(names)
    return [*names[start:], *names[:start]]
