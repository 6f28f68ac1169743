"""Runs the rounds: mail to every mail server, and calls to Waypost and to the echo server, in a rotating order."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import calls
import load
import mail
import process
from peers import Listener, MailPeer, Waypost

T = TypeVar("T")

DESCRIBED = 128
"""The number of linked pairs of email addresses that DescribeEmailAddress reads."""

ECHO_FACTOR = 4
"""The factor by which the echo server gets more requests, so that its runs take about as long."""

Figures = dict[str, list[float]]
"""The measurements by name, with a figure for each round."""


class MailRounds:
    """Sends the same number of messages to each mail server."""

    def __init__(self, peers: Mapping[str, MailPeer], *, messages: int, keep_connections: bool) -> None:
        self._peers = peers
        self._messages = messages
        self._keep_connections = keep_connections
        self.figures: dict[str, Figures] = {name: defaultdict(list) for name in peers}

    def warm_up(self) -> None:
        """Send a few messages that are not counted, so that processes are running and files exist."""
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
            # Waypost's inboxes are checked after the measurement, because accepted messages are already delivered.
            delivered = accepted if isinstance(peer, Waypost) else time.perf_counter() - began
            self.figures[name]["accepted"].append(self._messages / accepted)
            self.figures[name]["delivered"].append(self._messages / delivered)


class HttpRounds:
    """Sends signed calls to Waypost, and the same requests to the echo server."""

    def __init__(self, waypost: Waypost, echo: Listener, *, requests: int, pairs: int) -> None:
        self._waypost = waypost.http
        self._echo = echo
        self._requests = requests
        self._calls = calls.Calls(waypost.server, waypost.instance_id)
        made = self._make_pairs(pairs + DESCRIBED)
        self._pairs, self._linked = made[:pairs], made[pairs:]
        self._send([self._calls.associate(pair) for pair in self._linked])
        self._runs = {"echo": self._run_echo, "describe": self._run_describe, "associate": self._run_associate}
        self.figures: dict[str, Figures] = {name: defaultdict(list) for name in self._runs}

    def run(self, number: int) -> None:
        for name in _turned(list(self._runs), number):
            self._runs[name]()

    def _run_echo(self) -> None:
        # The echo server gets the same requests as Waypost, but more of them, because it is much faster.
        self._measure("echo", self._echo, self._describes(), total=ECHO_FACTOR * self._requests)

    def _run_describe(self) -> None:
        self._measure("describe", self._waypost, self._describes(), total=self._requests)

    def _run_associate(self) -> None:
        associates = [self._calls.associate(pair) for pair in self._pairs]
        self._measure("associate", self._waypost, associates, total=len(associates))
        # Unlink the pairs for the next round, without measuring it.
        self._send([self._calls.disassociate(pair) for pair in self._pairs])

    def _measure(self, name: str, server: Listener, requests: Sequence[bytes], *, total: int) -> None:
        used_before = process.cpu_seconds(server.pid)
        result = load.drive(server.port, requests, total=total)
        used = process.cpu_seconds(server.pid) - used_before
        figures = self.figures[name]
        figures["per_second"].append(result.per_second)
        figures["p50"].append(result.p50)
        figures["p99"].append(result.p99)
        figures["cpu"].append(used / total * 1e6)

    def _describes(self) -> list[bytes]:
        return [self._calls.describe(pair.primary_id) for pair in self._linked]

    def _make_pairs(self, count: int) -> list[calls.Pair]:
        creates = [self._calls.create(f"address-{number}@calls.example") for number in range(2 * count)]
        created = load.drive(self._waypost.port, creates, total=len(creates), keep_bodies=True)
        ids = [json.loads(body)["EmailAddressId"] for body in created.bodies]
        return [calls.Pair(ids[number], ids[number + 1]) for number in range(0, len(ids), 2)]

    def _send(self, requests: Sequence[bytes]) -> None:
        """Send each of these requests once."""
        load.drive(self._waypost.port, requests, total=len(requests))


def _turned(names: Sequence[T], number: int) -> list[T]:
    """Return the names, rotated by the number of the round, so that no server is always first."""
    start = number % len(names)
    return [*names[start:], *names[:start]]
