"""The faults of a simulation: which there are, when they happen, and how they end.

A fault either happens at once (a server is stopped, a clock jumps), or it is armed and happens at the next step of its
kind (the server is killed between a commit and its reply). A fault that is still armed when the faults end has not
happened, and is not counted.
"""

import asyncio
import sqlite3
from collections import Counter
from datetime import timedelta

from faults.simulation.store import Killed

AT_A_STEP = {
    "killed before a transaction began": 3,
    "killed before a commit": 3,
    "killed after a commit, before its reply": 4,
    "killed after a peer's reply, before its record": 4,
    "killed in a delivery in parts": 4,
    "killed after a commit about a notice": 3,
    "a statement failed": 2,
    "the disk was full in a transaction": 2,
    "a commit failed": 3,
    "a commit happened, but its client got an error": 3,
    "stopped after a peer's reply, for longer than a lease": 3,
}
"""The faults that are armed, and how often they are chosen."""

AT_ONCE = {
    "killed at any moment": 3,
    "stopped for longer than a lease": 3,
    "stopped for a short time": 1,
    "a clock jumped forward": 3,
    "a clock was set back": 3,
    "the store failed for a while": 2,
    "a peer was down for longer than mail is tried": 1,
}
"""The faults that happen at once."""

OF_PEERS = {
    "a peer refused": 4,
    "a peer deferred": 2,
    "a peer's reply was lost": 3,
    "a peer was unreachable": 2,
}
"""The faults of peers, which happen at the next attempts."""

ABOUT_A_NOTICE, IN_PARTS = "killed after a commit about a notice", "killed in a delivery in parts"

OF_ANY_SERVER = {ABOUT_A_NOTICE, IN_PARTS}
"""The faults that happen on the first server that comes to such a step, because the steps are rare."""

KINDS = AT_A_STEP | AT_ONCE | OF_PEERS

LEASE_IS_OVER = (130.0, 400.0)
"""How long a server stands still so that each of its leases ends, in seconds."""


class Injector:
    """Injects the faults of one simulation."""

    def __init__(self, world):
        self._world = world
        self._armed = {}
        """The armed fault of each process."""
        self._peer_faults = []
        """The faults of the next attempts."""
        self._failing_until = {}
        """The times until which the store fails, by process."""
        self._notices_due = {}
        """The numbers of notices that were due before the transactions of processes that will be killed."""
        self._down_until = {}
        """The times until which peers are down, by the targets of their routes. They stay down when the faults end."""
        self.happened = Counter()
        """The number of faults that happened, by kind."""

    # Choosing faults.

    async def inject(self, count):
        """Inject faults one after the other, with pauses."""
        chance, kinds = self._world.chance, list(KINDS)
        for kind in chance.choices(kinds, KINDS.values(), k=count):
            await asyncio.sleep(chance.expovariate(1 / 4))
            server = self._world.a_live_server()
            if server is None:
                continue
            if kind in OF_ANY_SERVER:
                for each in self._world.running():
                    self._armed.setdefault(each.process, kind)
                if kind == ABOUT_A_NOTICE:
                    self._peer_faults += ["a peer refused"] * 2
            elif kind in AT_A_STEP:
                self._armed.setdefault(server.process, kind)
            elif kind in OF_PEERS:
                self._peer_faults += [kind] * chance.randint(1, 3)
            else:
                self._happen_now(kind, server)

    def end(self):
        """Disarm all faults that have not happened."""
        self._armed.clear()
        self._peer_faults.clear()
        self._failing_until.clear()

    def _happen_now(self, kind, server):
        world, chance = self._world, self._world.chance
        self._count(kind, server.process)
        if kind == "killed at any moment":
            world.kill(server.process)
        elif kind == "stopped for longer than a lease":
            world.stop(server.process, chance.uniform(*LEASE_IS_OVER))
        elif kind == "stopped for a short time":
            world.stop(server.process, chance.uniform(1, 60))
        elif kind == "a clock jumped forward":
            world.set_clock(server, timedelta(seconds=chance.choice([5, 40, 200, 900, 7200])))
        elif kind == "a clock was set back":
            world.set_clock(server, -timedelta(seconds=chance.choice([5, 40, 200, 900])))
        elif kind == "a peer was down for longer than mail is tried":
            self._down_until[chance.choice(world.routes).to] = world.now() + chance.uniform(700, 1500)
        else:
            until = world.now() + chance.uniform(1, 90)
            self._failing_until[server.process] = until
            world.excuse("store", server.process, until)

    def _count(self, kind, process):
        self.happened[kind] += 1
        self._world.log(f"fault: {kind}", process)

    def _take(self, process, *kinds):
        """Return whether one of these faults is armed for a process. It then happens now."""
        if self._armed.get(process) not in kinds:
            return ""
        kind = self._armed.pop(process)
        if kind in OF_ANY_SERVER:
            self._armed = {other: armed for other, armed in self._armed.items() if armed != kind}
        self._count(kind, process)
        return kind

    # The steps at which an armed fault happens.

    def at_read(self, process):
        """Fail a read if the store of the process fails now."""
        if self._is_failing(process):
            raise sqlite3.OperationalError("disk I/O error")

    def _is_failing(self, process):
        return self._failing_until.get(process, 0.0) > self._world.now()

    def before_begin(self, process):
        """Happen before a transaction begins."""
        if self._armed.get(process) == ABOUT_A_NOTICE:
            self._notices_due[process] = self._world.count("notices_owed")
        if self._take(process, "killed before a transaction began"):
            raise Killed

    def in_transaction(self, process):
        """Return a function that is called with each statement of a transaction, or None."""
        if self._is_failing(process):
            return _fails_at("BEGIN IMMEDIATE")
        kind = self._armed.get(process)
        if kind in {"a statement failed", "the disk was full in a transaction"}:
            return self._failing_statement(process, kind)
        if kind in {"killed before a commit", "a commit failed", "a commit happened, but its client got an error"}:
            return self._failing_commit(process, kind)
        return None

    def _failing_statement(self, process, kind):
        left, connection = self._world.chance.randint(1, 6), self._world.connection

        def fails(_):
            nonlocal left
            left -= 1
            if left == 0 and self._take(process, kind):
                self._excuse_store(process)
                if kind == "a statement failed":
                    raise sqlite3.OperationalError("disk I/O error")
                connection.fault = None
                connection.roll_back_really()
                raise sqlite3.OperationalError("database or disk is full")

        return fails

    def _failing_commit(self, process, kind):
        def fails(sql):
            if sql != "COMMIT" or not self._take(process, kind):
                return
            if kind == "killed before a commit":
                raise Killed
            self._excuse_store(process)
            if kind.startswith("a commit happened"):
                self._world.commits_lost.append((process, self._world.now()))
                self._world.connection.commit_really()
            raise sqlite3.OperationalError("disk I/O error")

        return fails

    def _excuse_store(self, process):
        # A server repeats a record that failed after a second, and gives up when the lease has ended.
        self._world.excuse("store", process, self._world.now())

    def after_commit(self, process):
        """Happen after a commit, before its result reaches the callers."""
        if self._take(process, "killed after a commit, before its reply"):
            raise Killed
        kind, world = self._armed.get(process), self._world
        if kind == IN_PARTS:
            is_now = world.count("planned_deliveries") and world.chance.random() < 0.5
        elif kind == ABOUT_A_NOTICE:
            is_now = world.count("notices_owed") != self._notices_due.get(process) and world.chance.random() < 0.6
        else:
            is_now = False
        if is_now and self._take(process, kind):
            raise Killed

    def after_peers_reply(self, process):
        """Happen after a peer has accepted a message, before its server records that."""
        kind = self._take(
            process,
            "killed after a peer's reply, before its record",
            "stopped after a peer's reply, for longer than a lease",
        )
        if kind.startswith("killed"):
            self._world.kill(process)
        elif kind:
            self._world.stop(process, self._world.chance.uniform(*LEASE_IS_OVER))

    def of_attempt(self, process, peer):
        """Return the fault of the next attempt to a peer; empty if it has none."""
        if self._down_until.get(peer, 0.0) > self._world.now():
            return "a peer was unreachable"
        if not self._peer_faults:
            return ""
        kind = self._peer_faults.pop(0)
        self._count(kind, process)
        return kind


def _fails_at(statement):
    def fails(sql):
        if sql == statement:
            raise sqlite3.OperationalError("disk I/O error")

    return fails
